"""听不听得见，自己知道：经事务模式的连接池 LISTEN 不报错，也什么都听不见。"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from aiohttp import web
from psycopg import sql

from api.http.guard import GUARD, Guard
from kaguan.config import Settings, load_settings
from kaguan.database import listening
from kaguan.database.listening import Listener
from kaguan.database.pool import Pool, open_pool
from kaguan.presence.beat import Presence
from kaguan.queues.client import open_redis
from kaguan.tokens.store import REVOKED
from kaguan.verdict import service
from kaguan.verdict.model import ConcernCode
from tests.chaos.proxy import Proxy
from tests.support.alongside import alongside
from tests.support.eventually import PACE, UNHURRIED, eventually
from tests.support.fault_plant import port_of, through
from tests.support.invocation import Invocation
from tests.support.pooler import Pooler
from tests.support.said import capture_logs
from tests.support.serving import serving

INTERVAL, UNANSWERED = 0.1, 0.3 * PACE  # 秒
NOWHERE = "postgresql://kaguan:quiet-harbour-71@127.0.0.1:1/kaguan"
CHANNEL = "kaguan_test"
STOCK = 97  # PostgreSQL 出厂的一百条，三条留给超级用户
LISTENERS = {"kaguan-api-listener"}
CONNECTED = "select application_name from pg_stat_activity where datname = current_database()"


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invocation:
    return Invocation(monkeypatch, capsys)


def settings_to(url: str, environ: dict[str, str], **more: str) -> Settings:
    return load_settings({**environ, "KAGUAN_DATABASE__URL": url, **more})


class Heard:
    """听到几声，说过听不听得见几次。"""

    def __init__(self) -> None:
        self.rings = 0
        self.told: list[float] = []

    def ring(self) -> None:
        self.rings += 1


@asynccontextmanager
async def hearing(url: str, pool: Pool, environ: dict[str, str]) -> AsyncIterator[tuple[Listener, Heard]]:
    heard = Heard()
    config = settings_to(url, environ).database
    listener = Listener(config, pool, "listener", CHANNEL, heard.ring, heard.told.append, INTERVAL, UNANSWERED)
    async with alongside(listener.run(), "listener"):
        yield listener, heard


def test_a_deaf_listener_is_known_within_a_minute() -> None:
    worst = 1.25 * listening.ECHO_INTERVAL + listening.MISSES * listening.ECHO_PATIENCE
    assert worst < 60


async def test_a_listener_behind_the_pooler_knows_that_it_is_deaf(
    pooler: Pooler, direct_url: str, environ: dict[str, str]
) -> None:
    url = pooler.url_of(direct_url)
    with capture_logs() as lines:
        async with (
            open_pool(settings_to(url, environ).database, "test") as pool,
            hearing(url, pool, environ) as (listener, heard),
        ):

            def connected() -> int:
                return 1 + sum(str(line["event"]).startswith("专用连接中断") for line in lines)

            def deaf() -> bool:
                pooler.part_from_server("kaguan-listener")
                return listener.deaf and heard.rings == connected()  # 每次连上响一声

            await eventually(deaf)
            told = len(heard.told)
            async with pool.connection() as connection:
                await connection.execute(f"notify {CHANNEL}")
            await eventually(lambda: len(heard.told) > told + 2)
            assert heard.told[-1] == 1
            assert heard.rings == connected()
    said = [line for line in lines if "KAGUAN_DATABASE__LISTEN_URL" in line["event"]]
    assert len(said) == 1


async def test_with_a_direct_address_of_its_own_it_hears_what_is_rung_through_the_pooler(
    pooler: Pooler, direct_url: str, environ: dict[str, str]
) -> None:
    through_pooler = settings_to(pooler.url_of(direct_url), environ, KAGUAN_DATABASE__LISTEN_URL=direct_url)
    listens = through_pooler.database.listening
    assert listens is not None
    async with (
        open_pool(through_pooler.database, "test") as pool,
        hearing(listens.url.get_secret_value(), pool, environ) as (listener, heard),
    ):
        await eventually(lambda: len(heard.told) > 3)
        before = heard.rings
        async with pool.connection() as connection:
            await connection.execute(f"notify {CHANNEL}")
        await eventually(lambda: heard.rings > before)
        # 头一声响在 LISTEN 之前，多半没听见：它不算
        await eventually(lambda: heard.told[-3:] == [0, 0, 0] and not listener.deaf)


async def test_a_listener_that_lost_its_hearing_gets_it_back(
    pool: Pool, direct_url: str, environ: dict[str, str]
) -> None:
    proxy = Proxy(port_of(direct_url))
    await proxy.start()
    url = through(direct_url, port_of(direct_url), proxy.port)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(proxy.stop)
        listener, heard = await stack.enter_async_context(hearing(url, pool, environ))
        await eventually(lambda: heard.rings == 1 and heard.told[-2:] == [0, 0])
        proxy.blackhole()  # 连接还在，一个字节也不过
        await eventually(lambda: listener.deaf)
        proxy.heal()
        await eventually(lambda: not listener.deaf)
        assert heard.told[-1] == 0


async def test_an_api_that_hears_nothing_is_told_by_metric_and_verdict(
    pooler: Pooler, direct_url: str, environ: dict[str, str]
) -> None:
    settings = settings_to(pooler.url_of(direct_url), environ, KAGUAN_DATABASE__STATEMENT_TIMEOUT="47")
    guards: list[Guard] = []

    def impatient(app: web.Application) -> None:
        guards.append(app[GUARD])
        assert guards[0].listener is not None
        assert guards[0].listener.patience == 47  # 语句许慢到多久，回声也许
        guards[0].listener.patience = 0.2

    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(serving(settings, adapt=impatient))
        redis = await stack.enter_async_context(open_redis(settings.redis))
        await stack.enter_async_context(Presence(redis, "api", facts=guards[0].facts).beating())

        async def told() -> bool:
            pooler.part_from_server("kaguan-api-listener")
            _, verdict = await service.take(api.pool.connection, redis, settings, UNHURRIED)
            deaf = [concern for concern in verdict.concerns if concern.code is ConcernCode.DEAF]
            return [concern.parameters for concern in deaf] == [{"count": 1}]

        await eventually(told)
        assert api.metrics.registry.get_sample_value("kaguan_listener_deaf", {"channel": REVOKED}) == 1


@pytest.mark.parametrize(("listen_url", "listeners"), [("", LISTENERS), ("off", set())])
async def test_declared_off_nobody_listens(
    listen_url: str, listeners: set[str], environ: dict[str, str], direct_url: str
) -> None:
    settings = settings_to(direct_url, environ, KAGUAN_DATABASE__LISTEN_URL=listen_url)
    async with serving(settings) as api:

        async def connected() -> bool:
            return {name for (name,) in await api.rows(CONNECTED) if name.endswith("listener")} == listeners

        await eventually(connected)


async def test_doctor_says_whether_notifications_are_heard(
    pooler: Pooler, direct_url: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, invoke: Invocation
) -> None:
    pooled = pooler.url_of(direct_url)
    cases = {
        (pooled, ""): (True, True, "KAGUAN_DATABASE__LISTEN_URL"),
        (pooled, direct_url): (True, False, ""),
        (pooled, "off"): (True, False, ""),
        (direct_url, ""): (True, False, ""),
        (pooled, NOWHERE): (
            False,
            False,
            "KAGUAN_DATABASE__LISTEN_URL",
        ),
    }
    for (url, listen_url), (ok, attention, advice) in cases.items():
        for key, value in {**environ, "KAGUAN_DATABASE__URL": url, "KAGUAN_DATABASE__LISTEN_URL": listen_url}.items():
            monkeypatch.setenv(key, value)

        async def said(expected: tuple[bool, bool, str] = (ok, attention, advice)) -> bool:
            """一声至多等两秒：正停顿着的，再问。"""
            _, out, _ = await asyncio.to_thread(invoke, "doctor", "--json")
            assert "quiet-harbour-71" not in out
            [found] = [finding for finding in json.loads(out) if finding["part"] == "监听"]
            return (found["ok"], found["attention"]) == expected[:2] and expected[2] in found["advice"]

        await eventually(said)


@pytest.fixture
def budget(
    environ: dict[str, str], direct_url: str, monkeypatch: pytest.MonkeyPatch, invoke: Invocation
) -> Callable[..., dict[str, Any]]:
    """`kaguan doctor` 的「连接数」一项，照这些配置。"""

    def said(**more: str) -> dict[str, Any]:
        common = {**environ, "KAGUAN_DATABASE__URL": direct_url, "KAGUAN_DATABASE__POOL_MAX": "25"}
        for key, value in {**common, **more}.items():
            monkeypatch.setenv(key, value)
        _, out, _ = invoke("doctor", "--json")
        [found] = [finding for finding in json.loads(out) if finding["part"] == "连接数"]
        return dict(found)

    return said


def test_doctor_compares_what_all_processes_may_open_with_what_the_server_allows(
    pooler: Pooler, direct_url: str, budget: Callable[..., dict[str, Any]]
) -> None:
    enough = budget(KAGUAN_API__PROCESSES="1")
    assert (enough["ok"], enough["attention"], enough["advice"]) == (True, False, "")
    assert "至多开 86 条" in enough["detail"]  # api 26、relay 25、worker 25、命令 10
    assert "api 4 × 26" in budget(KAGUAN_API__PROCESSES="4")["detail"]
    many = budget(KAGUAN_API__PROCESSES="16")
    assert many["attention"]
    fits = fitting(many)
    assert not budget(KAGUAN_DATABASE__POOL_MAX=str(fits))["attention"]
    assert budget(KAGUAN_DATABASE__POOL_MAX=str(fits + 1))["attention"]
    pooled = budget(KAGUAN_DATABASE__URL=pooler.url_of(direct_url))
    assert "max_client_conn" in pooled["advice"]


def test_doctor_says_that_four_api_processes_want_more_than_a_stock_server_gives(
    admin: psycopg.Connection, direct_url: str, budget: Callable[..., dict[str, Any]]
) -> None:
    database = sql.Identifier(urlsplit(direct_url).path.removeprefix("/"))
    admin.execute(sql.SQL("alter database {} connection limit {}").format(database, STOCK))
    assert not budget(KAGUAN_API__PROCESSES="1")["attention"]
    four = budget(KAGUAN_API__PROCESSES="4")
    assert (four["ok"], four["attention"]) == (True, True)
    assert "至多开 164 条（api 4 × 26、relay 1 × 25、worker 1 × 25，" in four["detail"]
    assert f"服务器许 {STOCK} 条" in four["detail"]
    assert not budget(KAGUAN_DATABASE__POOL_MAX=str(fitting(four)))["attention"]


def fitting(found: dict[str, Any]) -> int:
    """它劝的上限。"""
    return int(re.findall(r"POOL_MAX 降到 (\d+)", found["advice"])[0])
