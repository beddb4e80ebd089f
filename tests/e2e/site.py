"""浏览器测试的场地：一套栈、一个 Chromium、一次登录，和几个各有结局的任务。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import urlencode

import psycopg
from playwright.async_api import Browser, Page, StorageState, expect

from api.console import registered
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Population
from kaguan.outbox.recover.vanished import LONGEST_REQUEST_ID
from kaguan.sims.vocabulary import Carrier
from kaguan.verdict.model import ConcernCode
from tests.e2e.browser import Identity, chromium, identity, opened, tab
from tests.e2e.console_pages import shown
from tests.e2e.stack import RunningStack, started
from tests.e2e.traffic import business, redis_forgets, script
from tests.support.eventually import eventually
from tests.support.places import temporary_place
from tests.support.smtp_server import smtp_server

CARD = "89860012345678901238"
SIMULATED = 1_000  # 张；栈里的模拟器有这么多
FLEET = 60  # 张：一页装不下
FIRST = 100  # 序号更小的，别的用例也登记
ACTIVE, STOPPED = "2", "4"  # OneLink 的「已激活」「已停机」
SETTINGS = {
    "KAGUAN_RELAY__BACKSTOP_AGE": "5",
    "KAGUAN_TASKS__BACKOFF_BASE": "0.2",
    "KAGUAN_TASKS__BACKOFF_CAP": "2",
    "KAGUAN_API__LOGIN_PER_MINUTE": "100",
}


@dataclass(frozen=True, slots=True)
class Site:
    """在跑的一套、浏览器、已登录的 cookie，任务号 → 结局，改过卡的一次。"""

    stack: RunningStack
    browser: Browser
    state: StorageState
    tasks: dict[str, str]
    change: int
    _identities: dict[str, Identity] = field(default_factory=dict)

    @property
    def trace_view(self) -> str:
        return self.stack.env["OTEL_EXPORTER_OTLP_ENDPOINT"]

    @asynccontextmanager
    async def open(self, **context: Any) -> AsyncIterator[Page]:
        """带着登录开一个标签页。语言、明暗、宽窄都一样的合用一个身份：起一个要一秒的处理器。"""
        key = repr(context)
        if key not in self._identities:
            options = {"storage_state": self.state, "also": (self.trace_view,)} | context
            self._identities[key] = await identity(self.browser, self.stack.url, **options)
        async with self._identities[key].page() as page:
            yield page

    def alone(self, **context: Any) -> AbstractAsyncContextManager[Page]:
        """身份不与谁合用：要改它的 cookie 的，有意引来毛病的；参数见 :func:`tests.e2e.browser.tab`。"""
        options = {"state": self.state, "also": (self.trace_view,)} | context
        return tab(self.browser, self.stack.url, **options)

    def task(self, status: str) -> str:
        return next(task_id for task_id, found in self.tasks.items() if found == status)

    def pages(self) -> dict[str, str]:
        """控制台的每一页，各挑内容最多的样子。"""
        uncertain = f"/console/tasks/{self.task('uncertain')}"
        samples = {
            "/": {"overview": "/"},
            "/console/sims/changes/{change}": {"sim-change": f"/console/sims/changes/{self.change}"},
            "/console/sims/{iccid}": {"sim": f"/console/sims/{CARD}"},
            "/console/tasks": {"tasks": "/console/tasks", "sweep": "/console/tasks?type=email:send&deed=discard"},
            "/console/tasks/{task_id}": {"task": uncertain},
            "/console/tasks/{task_id}/stack": {},  # 要有在跑的；看别的应用的控制台时看它
            "/console/dead-letters": {"dead-letters": "/console/dead-letters?preview=1&status=failed#replay"},
            "/console/verdict": {
                "verdict": "/console/verdict",
                "acknowledge": f"/console/verdict?{urlencode({'concern': ConcernCode.VANISHED, 'subject': ''})}",
            },
        }
        return shown(registered.routes(), samples)


@asynccontextmanager
async def running_site() -> AsyncIterator[Site]:
    async with chromium() as browser, smtp_server(script()) as smtp:
        extra = {**SETTINGS, "KAGUAN_SMTP__URL": smtp.url}
        with temporary_place("e2e") as place:
            async with started(place / "data", place / "log", extra=extra) as stack:
                tasks = await business(stack, smtp)
                await redis_forgets(stack)
                await vanish(stack)
                held = {"scope": "key", "name": "card:7", "reason": "r" * 200, "seconds": 86_400}
                assert stack.request("POST", "/api/v1/pauses", held)[0] == 201
                await card(stack)
                change = await fleet(stack)
                async with tab(browser, stack.url) as page:
                    await log_in(page, stack.token)
                    state = await page.context.storage_state()
                yield Site(stack, browser, state, tasks, change)


async def card(stack: RunningStack) -> None:
    """一张什么都有的卡：标签、这个月的用量、状态变更、换下的 profile。"""
    async with await psycopg.AsyncConnection.connect(stack.env["KAGUAN_DATABASE__URL"], autocommit=True) as connection:
        for statement in (
            (
                "insert into tb_sim (iccid, carrier, luhn_valid, msisdn, plan, tags, lifecycle_state)"
                " values (%(iccid)s, 'onelink', true, '1064712345678', '30M', '{fleet}', 'active')"
            ),
            (
                "insert into tb_sim_usage (iccid, day, carrier, data_bytes)"
                " select %(iccid)s, day::date, 'onelink', 1000000 * extract(day from day)"
                " from generate_series(now() - interval '40 days', now(), interval '1 day') as day"
            ),
            (
                "insert into tb_sim_event (iccid, old_state, new_state, source)"
                " values (%(iccid)s, 'inventory', 'active', 'onelink')"
            ),
            (
                "insert into tb_sim_profile (sim_id, iccid, carrier, since)"
                " select id, '89860012345678901246', carrier, created_at from tb_sim where iccid = %(iccid)s"
            ),
        ):
            await connection.execute(statement, {"iccid": CARD})


async def fleet(stack: RunningStack) -> int:
    """一队卡：一页装不下的在用的，三张已停的，运营商那里也是：定时的刷新改不了它们。队外一张在用的停了机：那一次的号。"""
    now, population = datetime.now(UTC), Population(cards=SIMULATED)
    mine = [iccid_at(Carrier.ONELINK, index) for index in range(FIRST, SIMULATED)]
    states = {one: population.state(Carrier.ONELINK, one, now) for one in mine}
    *in_use, single = islice((one for one in mine if states[one] == ACTIVE), FLEET + 1)
    iccids = [*in_use, *islice((one for one in mine if states[one] == STOPPED), 3)]
    cards = [{"iccid": one, "carrier": "onelink", "group": "fleet"} for one in iccids]
    status, answer = stack.request("POST", "/api/v1/sims", {"sims": [*cards, {"iccid": single, "carrier": "onelink"}]})
    assert status == 201, answer
    async with await psycopg.AsyncConnection.connect(stack.env["KAGUAN_DATABASE__URL"], autocommit=True) as connection:
        state = "update tb_sim set lifecycle_state = %s where iccid = any(%s)"
        await connection.execute(state, ("active", [*iccids[:FLEET], single]))
        await connection.execute(state, ("suspended", iccids[FLEET:]))
    wanted = {"change": "suspend", "iccids": [single], "reason": "客户停用"}
    status, answer = stack.request("POST", "/api/v1/sims/changes", wanted)
    assert status == 202, answer
    change = int(answer["data"]["id"])
    path = f"/api/v1/sims/changes/{change}"
    await eventually(lambda: stack.request("GET", path)[1]["data"]["counts"]["succeeded"] == 1)
    return change


async def vanish(stack: RunningStack) -> None:
    """不见了的两件：一件有请求号（到顶那么长），一件没有。"""
    async with await psycopg.AsyncConnection.connect(stack.env["KAGUAN_DATABASE__URL"], autocommit=True) as connection:
        for request_id in ("r" * LONGEST_REQUEST_ID, None):
            await connection.execute(
                "insert into tb_vanished (task_id, type, request_id, delivery)"
                " values (gen_random_uuid(), 'email:send', %s, 1)",
                (request_id,),
            )


async def log_in(page: Page, token: str) -> None:
    await page.goto("/")
    await page.get_by_test_id("token").fill(token)
    await page.get_by_test_id("login-submit").click()
    await expect(page.get_by_test_id("token")).to_have_count(0)  # 进来了
    await opened(page, "/")
    await expect(page.get_by_test_id("overview")).to_be_visible()
