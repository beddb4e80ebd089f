"""夜里的十三件事：怎么下手，总览该说哪几件、话里该有什么，人去动哪个手柄，动了之后要看到什么。"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
from playwright.async_api import expect

from kaguan.dev.simulator.population import iccid_at
from kaguan.sims.vocabulary import Carrier
from tests.drill import faults
from tests.drill.person import Person
from tests.drill.relay_host import DEFERRED
from tests.drill.stage import ORDINARY, Stage
from tests.e2e.stack import kaguan
from tests.e2e.traffic import FINAL
from tests.support.eventually import eventually

MAIL, SYNC = "email:send", "sim:status_sync"
BULK, BULKS = 1_000, 12  # 一个人、一个队列一次来这么多
SYNCS, SYNCED = 120, 20
URGENT = 10
WHY = "夜里"
KEY = "drill-key"
Strike = Callable[[Stage], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Night:
    """一件事。

    Attributes:
        told: 该是根由的几件，各自话里该有的（正则）。
        act: 从总览出发去动手，看到效果才算。
        also: 也可以是根由的：同一件事留下的，没有冤枉谁。
    """

    title: str
    strike: Strike
    told: tuple[tuple[str, str], ...]
    act: Callable[[Person, Stage], Awaitable[None]]
    also: frozenset[str] = frozenset()


async def tasks(stage: Stage, **query: str) -> list[dict[str, Any]]:
    async with stage.client.get("/api/v1/tasks", params={"page_size": "100", **query}) as answer:
        found: list[dict[str, Any]] = (await answer.json())["data"]["items"]
        return found


async def none(stage: Stage, **query: str) -> None:
    """等到一个这样的任务也没有。"""

    async def gone() -> bool:
        return not await tasks(stage, **query)

    await eventually(gone)


async def becomes(stage: Stage, task_id: str, status: str) -> None:
    async def so() -> bool:
        async with stage.client.get(f"/api/v1/tasks/{task_id}") as answer:
            return bool((await answer.json())["data"]["status"] == status)

    await eventually(so)


@asynccontextmanager
async def locked_table(stage: Stage) -> AsyncIterator[None]:
    """别的角色开着事务，锁着任务表。"""
    async with stage.another_session() as session:
        await session.execute("lock table tb_task in access exclusive mode")
        yield


@asynccontextmanager
async def two_outages(stage: Stage) -> AsyncIterator[None]:
    async with faults.mail_down(stage), faults.carrier_down(stage):
        yield


@asynccontextmanager
async def one_caller(stage: Stage) -> AsyncIterator[None]:
    made = await asyncio.to_thread(
        kaguan, "token", "create", "--name", "bulk", "--scopes", "tasks:write", "--json", data=stage.stack.data
    )
    headers = {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}
    async with aiohttp.ClientSession(stage.stack.url, headers=headers) as client:
        await crowd(client, "default")
    yield


@asynccontextmanager
async def low_crowd(stage: Stage) -> AsyncIterator[None]:
    await crowd(stage.client, "low")
    yield


async def crowd(client: aiohttp.ClientSession, priority: str) -> None:
    mail = {"type": MAIL, **ORDINARY, "priority": priority}
    for _ in range(BULKS):
        async with client.post("/api/v1/tasks/batch", json={"tasks": [mail] * BULK}) as answer:
            assert answer.ok, await answer.text()


@asynccontextmanager
async def slow_syncs(stage: Stage) -> AsyncIterator[None]:
    """一大批低优先级的同步，问的是一次只答一个的运营商。"""
    cards = [iccid_at(Carrier.CONTROL_CENTER, number) for number in range(SYNCED)]
    await stage.post("/sims", {"sims": [{"iccid": card, "carrier": "control_center"} for card in cards]})
    sync = {"type": SYNC, "iccids": cards, "force_sync": True, "priority": "low"}
    await stage.post("/tasks/batch", {"tasks": [sync] * SYNCS})
    yield


@asynccontextmanager
async def stuck_key(stage: Stage) -> AsyncIterator[None]:
    await stage.mail(DEFERRED, ordering_key=KEY)
    await stage.mail(ordering_key=KEY)
    yield


async def pause(person: Person, stage: Stage, code: str, words: str, **held: str) -> None:
    """手柄 → 写缘由 → 停下；在做的做完，没有一个再开始。"""
    await person.pull(code, words)
    await person.write(person.page.get_by_test_id("pause-reason"), WHY)
    await person.press(person.page.get_by_test_id("pause"))
    await person.done("停下")
    await expect(person.page.locator('[data-concern="paused"]').last).to_be_visible()
    await none(stage, **held, status="running")


async def pause_both(person: Person, stage: Stage) -> None:
    await pause(person, stage, "breaker", "连不上", type=MAIL)
    await pause(person, stage, "breaker", "onelink", type=SYNC)


async def acknowledge(person: Person, _stage: Stage, code: str) -> None:
    """它自己会好，或要到那台机器上去：收起来，别盖住接着出的事。"""
    await person.press(person.root(code, "").locator("> .ways").get_by_test_id("acknowledge"))
    await person.write(person.page.get_by_test_id("acknowledge-reason"), WHY)
    await person.press(person.page.get_by_test_id("acknowledge"))
    await person.done("收起，有人在办")
    await expect(person.page.get_by_test_id("acknowledged")).to_be_visible()
    await expect(person.root(code, "")).to_have_count(0)


async def drain(person: Person, stage: Stage) -> None:
    """冻住的收不了工；它一动起来就不再取件，由另一个接着做。"""
    row = person.page.get_by_test_id("workers").locator("tbody tr").first
    await person.write(row.locator("input[name=reason]"), WHY)
    await person.press(row.get_by_test_id("drain"))
    await person.done("叫它收工")
    frozen = stage.stack.pid("worker")
    stage.stack.send("worker", signal.SIGCONT)
    await stage.stack.replaced("worker", frozen)
    await becomes(stage, await stage.mail(), "succeeded")


async def end_session(person: Person, stage: Stage) -> None:
    """按下的那一刻没有语句在等它的，不让结束：照页面说的回去，再按一次，也算点。"""
    end, back = person.page.get_by_test_id("end"), person.page.get_by_test_id("back")
    await person.pull("locked")
    await person.press(end)
    await expect(person.page.get_by_test_id("notice").or_(back)).to_be_visible()
    if await back.is_visible():
        await person.press(back)
        await person.press(end)
    await person.done("结束那个会话")
    await becomes(stage, await stage.mail(), "succeeded")


async def cancel_by_filter(person: Person, stage: Stage) -> None:
    await person.pull("unknown_type")
    await person.press(person.page.get_by_test_id("confirm"))
    await person.done("按条件取消")
    await none(stage, caller="drill", status="pending")
    await expect(person.root("unknown_type", "")).to_have_count(0)


async def cancel_head(person: Person, stage: Stage) -> None:
    (behind,) = [one for one in await tasks(stage, ordering_key=KEY) if one["status"] in {"pending", "queued"}]
    await person.pull("ordering")
    await person.press(person.page.get_by_test_id("cancel"))
    await person.done("取消队头")
    await becomes(stage, behind["task_id"], "succeeded")


async def pause_caller(person: Person, stage: Stage) -> None:
    await pause(person, stage, "backlog", "bulk", caller="bulk")
    await becomes(stage, await stage.mail(), "succeeded")  # 别人的照走


async def decide(person: Person, stage: Stage) -> None:
    for outcome, status in (("happened", "succeeded"), ("not_happened", "failed")):
        await person.pull("uncertain")
        row = person.page.get_by_test_id("tasks").locator("tbody tr").first
        task_id = str(await row.get_attribute("data-task"))
        await person.press(row.get_by_role("link").first)
        form = person.page.get_by_test_id("resolve")
        await person.write(form.locator("input[name=note]"), WHY)
        await person.press(form.locator(f"button[value={outcome}]"))
        await person.done({"happened": "断定：发生了", "not_happened": "断定：没有发生"}[outcome])
        await becomes(stage, task_id, status)


async def limit(person: Person, stage: Stage) -> None:
    urgent = [await stage.mail(priority="critical") for _ in range(URGENT)]
    for task_id in urgent:
        await becomes(stage, task_id, "succeeded")
    assert any(one["status"] not in FINAL for one in await tasks(stage, type=SYNC)), "慢的还没有做完，急的没有等"
    await person.pull("limited")
    await person.write(person.page.get_by_test_id("limit-at-once"), "1")
    await person.write(person.page.get_by_test_id("limit-reason"), WHY)
    await person.press(person.page.get_by_test_id("limit"))
    await person.done("另定限额")

    async def is_bounded() -> bool:
        return len(await tasks(stage, type=SYNC, status="running")) <= 2  # default 比设的多一个

    await eventually(is_bounded)


CUT_OFF = "uncertain"  # 服务器停下时正寄到一半的那一封：寄到了没有说不清，说出来是对的

NIGHTS: Mapping[str, Night] = {
    "frozen_worker": Night(
        "worker SIGSTOP",
        faults.frozen_worker,
        (("quiet", r"worker 没有心跳.*进程 \d+"),),
        drain,
        frozenset({"no_worker"}),
    ),
    "mail_down": Night(
        "SMTP 停",
        faults.mail_down,
        (("breaker", "连不上"),),
        partial(pause, code="breaker", words="", type=MAIL),
        frozenset({"setbacks", CUT_OFF}),
    ),
    "carrier_down": Night(
        "OneLink 全答 500",
        faults.carrier_down,
        (("breaker", "onelink.*HTTP 500"),),
        partial(pause, code="breaker", words="onelink", type=SYNC),
        frozenset({"setbacks"}),
    ),
    "flushed_redis": Night(
        "FLUSHALL", faults.flushed_redis, (("redis_lost", "不会丢"),), partial(acknowledge, code="redis_lost")
    ),
    "locked_table": Night("别的角色 LOCK TABLE", locked_table, (("locked", "reporter"),), end_session),
    "crashing_relay": Night(
        "relay 连死五次",
        faults.crashing_relay,
        (("restarts", "relay 在反复崩溃"),),
        partial(acknowledge, code="restarts"),
        frozenset({"no_relay"}),
    ),
    "unknown_type": Night("不认得的类型", faults.unknown_type, (("unknown_type", "sim:magic"),), cancel_by_filter),
    "stuck_key": Night("有序键卡住", stuck_key, (("ordering", KEY),), cancel_head),
    "one_caller": Night("一个人的一万二千个", one_caller, (("backlog", "bulk"),), pause_caller, frozenset({"limited"})),
    "killed_worker": Night(
        "信在半路时 worker SIGKILL",
        faults.killed_worker,
        (("uncertain", "结局不明"), ("restarts", "worker")),
        decide,
        frozenset({"expired", "held"}),
    ),
    "slow_syncs": Night("慢的同步挤着急的信", slow_syncs, (("limited", "control_center/sim:status_sync"),), limit),
    "two_outages": Night(
        "SMTP 停，同时 OneLink 全答 500",
        two_outages,
        (("breaker", "连不上"), ("breaker", "onelink.*HTTP 500")),
        pause_both,
        frozenset({"setbacks", CUT_OFF}),
    ),
    "low_crowd": Night(
        "积压一万二千个，relay 好好的",
        low_crowd,
        (("backlog", "low|低"),),
        partial(pause, code="backlog", words="", queue="low"),
        frozenset({"limited"}),
    ),
}
