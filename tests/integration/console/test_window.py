"""``kaguan --schema shop console``：凭链接进来，看得见、管得了别的应用的发件箱，别的一概没有。"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import aiohttp
import psycopg
import pytest

from kaguan.config import Settings
from tests.support import warm
from tests.support.console import CSRF, Page
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import own_port
from tests.support.window import Shop, accepted_by_the_product, looking_into, open_shop

SHARED = (
    "/",
    "/console/tasks",
    "/console/dead-letters",
    "/console/vanished",
    "/console/outbox",
    "/console/database",
    "/console/queues",
    "/console/holders",
    "/console/stats",
    "/console/pauses",
    "/monitor/",
)
PRODUCT_ONLY = (
    "/console/sims", "/console/schedules", "/console/audit", "/docs", "/openapi.json", "/metrics",
    "/api/v1/tasks", "/api/v1/users", "/api/v1/orders", "/api/v1/sims", "/api/v1/health",
)  # fmt: skip
NAVIGATION = re.compile(r'data-testid="nav-(\w+)"')
TYPES = re.compile(r'<option value="([a-z]+:[a-z]+)"')
CONCERN = re.compile(r'data-concern="(\w+)"')
SELECTION = re.compile(r'name="selection" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Person:
    """一个浏览器。"""

    session: aiohttp.ClientSession
    origin: str

    async def get(self, path: str) -> Page:
        async with self.session.get(path, allow_redirects=False) as response:
            return Page(response.status, response.headers, await response.text())

    async def post(self, path: str, form: Mapping[str, str], origin: str | None = None) -> Page:
        headers = {"Origin": self.origin if origin is None else origin}
        async with self.session.post(path, data=form, headers=headers, allow_redirects=False) as response:
            return Page(response.status, response.headers, await response.text())

    async def act(self, path: str, **form: str) -> Page:
        found = CSRF.search((await self.get("/console/outbox")).text)
        assert found is not None
        return await self.post(path, {"csrf_token": found[1], **form})


@asynccontextmanager
async def browser(link: str) -> AsyncIterator[Person]:
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(link))
    async with aiohttp.ClientSession(origin, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield Person(session, origin)


def path_of(link: str) -> str:
    return link[len("{0.scheme}://{0.netloc}".format(urlsplit(link))) :]


async def kaguan(environ: dict[str, str], *arguments: str) -> tuple[int, str]:
    process = await warm.run_kaguan(*arguments, environment={**os.environ, **environ}, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode or 0, (out + err).decode()


@pytest.mark.direct("库是现建的；经连接池，池子还连着从前的那个，删不掉")
@pytest.mark.measured
@pytest.mark.parametrize("product", [True, False], ids=["beside the product", "alone in the database"])
async def test_a_guest_sees_and_decides_his_own_tasks_and_nothing_of_the_product(
    settings: Settings, environ: dict[str, str], empty_database: str, product: bool
) -> None:
    url = settings.database.url.get_secret_value() if product else empty_database
    strange = str(accepted_by_the_product(url)) if product else "email:send"
    environ = {**environ, "KAGUAN_DATABASE__URL": url}
    async with open_shop(settings, url) as shop, looking_into(environ) as window:
        link = await window.link()
        async with browser(link) as person:
            assert (await person.get(path_of(link))).status == 303
            await sees_his_own_alone(person, shop, strange)
            await decides(person, shop)
            assert {path: (await person.get(path)).status for path in PRODUCT_ONLY} == dict.fromkeys(PRODUCT_ONLY, 404)
        output = "".join(window.said)
    assert window.process.returncode == 0
    assert output.count("token=") == output.count(f"token={link.partition('=')[2]}") + 1  # 用掉的那个与换上的
    with psycopg.connect(url) as database:
        acted = database.execute(
            "select distinct kind, split_part(actor, ':', 1) from shop.tb_task_event where actor is not null"
        ).fetchall()
        assert set(acted) == {("cancelled", "console"), ("retried", "console")}
        if product:
            assert database.execute("select count(*) from tb_audit").fetchone() == (0,)
            assert database.execute("select count(*) from tb_session").fetchone() == (0,)


async def sees_his_own_alone(person: Person, shop: Shop, strange: str) -> None:
    for path in SHARED:
        assert strange not in (await shown(person, path)).text
    home = await shown(person, "/")
    assert NAVIGATION.findall(home.text) == ["overview", "tasks", "dead", "outbox", "database", "pauses", "monitor"]
    assert "shop" in home.text
    tasks = await person.get("/console/tasks")
    assert set(TYPES.findall(tasks.text)) == {"card:charge", "parcel:send"}
    assert all(str(task) in tasks.text for task in (shop.sent, shop.lost, shop.charged, shop.later))
    charges = await person.get("/console/tasks?type=card:charge")
    assert str(shop.charged) in charges.text
    assert str(shop.sent) not in charges.text
    relays = (await person.get("/console/outbox")).tested("relays")
    assert "relay+worker" in relays
    queues = await person.get("/monitor/api/queues")
    assert "critical" in queues.text


async def shown(person: Person, path: str) -> Page:
    """看一眼有时限：那边停顿了一下的，再看。"""

    async def seen() -> Page | None:
        page = await person.get(path)
        return page if page.status == 200 else None

    page = await eventually(seen)
    assert page is not None
    return page


async def decides(person: Person, shop: Shop) -> None:
    """重来一个死信，取消一个，按条件重放结局不明的；时间线里有他。"""
    lost, later = f"/console/tasks/{shop.lost}", f"/console/tasks/{shop.later}"
    assert (await person.act(f"{lost}/retry", back=lost)).location == lost
    await shop.ended(shop.lost)
    assert (await person.act(f"{later}/cancel", back=later)).status == 303
    assert "cancelled" in (await person.get(later)).text
    preview = await person.get("/console/dead-letters?preview=1&status=uncertain&type=card:charge")
    selection = SELECTION.search(preview.text)
    assert selection is not None
    assert (await person.act("/console/dead-letters/replay", selection=selection[1])).status == 303
    await shop.ended(shop.charged)
    for task in (shop.lost, shop.later, shop.charged):
        timeline = (await person.get(f"/console/tasks/{task}")).tested("timeline")
        assert "console:" in timeline
    assert (await person.act("/console/outbox/redrive", older="0")).status == 303


@pytest.mark.measured
async def test_only_the_newest_link_lets_in_and_only_its_own_forms_do_anything(
    settings: Settings, environ: dict[str, str]
) -> None:
    async with open_shop(settings) as shop, looking_into(environ) as window:
        link = await window.link()
        retry = f"/console/tasks/{shop.lost}/retry"
        async with browser(link) as person:
            assert (await person.get("/console/tasks")).location.startswith("/console/login")
            assert "kaguan --schema shop console" in (await person.get("/console/login")).text
            assert (await person.get("/console/live/overview")).status == 401
            assert (await person.get("/console/enter?token=" + "x" * 43)).status == 401
            assert (await person.get("/monitor/api/queues")).status == 401
            assert (await person.post(retry, {})).location.startswith("/console/login")
            entered = await person.get(path_of(link))
            ((name, cookie),) = SimpleCookie(entered.headers["Set-Cookie"]).items()
            assert name == f"kaguan_session_{urlsplit(link).port}"
            assert cookie["httponly"]
            assert cookie["samesite"] == "Strict"
            assert cookie.value not in link
            assert (await person.get("/console/login")).location == "/"
            assert (await person.post(retry, {"csrf_token": "x"})).status == 403
            assert (await person.post(retry, {}, origin="https://elsewhere.example")).status == 403
        async with browser(link) as other:
            assert (await other.get(path_of(link))).status == 401
            fresh = await window.link()
            assert fresh != link
            assert (await other.get(path_of(fresh))).status == 303
            assert (await other.act("/console/logout")).location == "/console/login"
            assert (await other.get("/console/tasks")).location.startswith("/console/login")


@pytest.mark.measured
@pytest.mark.direct("经连接池，走了的进程的会话还留一阵，名字还在上面")
async def test_the_verdict_knows_the_guests_processes_from_the_products(
    settings: Settings, environ: dict[str, str]
) -> None:
    """产品的 relay 连着，不等于客人的也在；Redis 不在时客人的连着，就不说他没有。"""
    url = settings.database.url.get_secret_value()
    away = {**environ, "KAGUAN_REDIS__URL": f"redis://127.0.0.1:{own_port()}/0"}
    async with open_shop(settings), looking_into(away) as window:
        told = await concerns(await window.link(), {"redis"})
        assert not {"no_relay", "no_worker"} & told
    with psycopg.connect(url, application_name="kaguan-relay"):
        async with looking_into(environ) as window:
            await concerns(await window.link(), {"no_relay", "no_worker"})


async def concerns(link: str, expected: set[str]) -> set[str]:
    """总览上列着的，其中有 ``expected``。"""
    async with browser(link) as person:
        assert (await person.get(path_of(link))).status == 303

        async def listed() -> set[str] | None:
            told = set(CONCERN.findall((await person.get("/")).text))
            return told if expected <= told else None

        return await eventually(listed) or set()


async def test_an_outbox_dropped_under_the_window_does_not_turn_into_the_products(
    settings: Settings, environ: dict[str, str]
) -> None:
    url = settings.database.url.get_secret_value()
    strange = str(accepted_by_the_product(url))
    async with open_shop(settings):
        pass
    async with looking_into(environ, "--host", "localhost") as window:
        link = await window.link()
        assert urlsplit(link).port in range(8090, 8100)
        async with browser(link) as person:
            assert (await person.get(path_of(link))).status == 303
            assert (await person.get("/console/tasks")).status == 200
            with psycopg.connect(url, autocommit=True) as database:
                database.execute("drop schema shop cascade")
            for path in ("/console/tasks", f"/console/tasks/{strange}", "/console/dead-letters"):
                page = await person.get(path)
                assert page.status >= 500, path
                assert strange not in page.text


async def test_what_cannot_be_shown_is_said_in_words_before_anything_listens(
    settings: Settings, environ: dict[str, str]
) -> None:
    window = ("--schema", "shop", "console")
    code, said = await kaguan(environ, *window)
    assert (code, "install_sql" in said) == (3, True)
    async with open_shop(settings):
        pass
    with psycopg.connect(settings.database.url.get_secret_value()) as database:
        database.execute("update shop.tb_installation set version = 0")
    code, said = await kaguan(environ, *window)
    assert (code, said) == (3, "shop 的表是第 0 版，要第 1 版：先 migrate()\n")
    with psycopg.connect(settings.database.url.get_secret_value()) as database:
        database.execute("update shop.tb_installation set version = 1")
    code, said = await kaguan(environ, *window, "--host", "192.0.2.1")
    assert (code, "ssh -L" in said) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = await kaguan(environ, *window, "--port", str(taken.getsockname()[1]))
        assert (code, said.count("--port"), " / " in said) == (2, 1, False)
    code, said = await kaguan(environ, "console")
    assert (code, said.count("kaguan api"), " / " in said) == (2, 1, False)
    code, said = await kaguan({**environ, "KAGUAN_DATABASE__SCHEMA_NAME": "shop"}, "api")
    assert (code, "console" in said) == (2, True)
