"""各种各样的真实流量：面板上的每条线都要有东西画，包括坏事。"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from redis.asyncio import Redis

from api.http.limits import Counter
from kaguan.dev.simulator.population import iccid_at
from kaguan.sims.vocabulary import Carrier
from tests.e2e.stack import RunningStack
from tests.support.eventually import eventually
from tests.support.smtp_server import DROP, Script, SmtpServer

RATE_LIMIT = 150  # 每秒请求数
HIGH_WATER = 20  # 每个队列在 Redis 里至多这么多投递
FINAL = {"succeeded", "failed", "uncertain"}
GREYLISTED, REFUSED = "grey@example.com", "gone@example.com"
SETTINGS = {
    "KAGUAN_API__RATE_PER_TOKEN": str(RATE_LIMIT),
    "KAGUAN_RELAY__HIGH_WATER": str(HIGH_WATER),
    "KAGUAN_RELAY__BACKSTOP_AGE": "5",
    "KAGUAN_TASKS__BACKOFF_BASE": "0.2",
    "KAGUAN_TASKS__BACKOFF_CAP": "2",
}


def script() -> Script:
    """第一封信收下却不说（结局不明），一个地址先缓后收，一个地址永远不收。"""
    return Script(
        recipients={GREYLISTED: ["451 4.7.1 try later"], REFUSED: ["550 5.1.1 no such user"] * 9}, body=[DROP]
    )


def accepted(stack: RunningStack, path: str, body: dict[str, Any]) -> str:
    status, answer = stack.request("POST", path, body)
    assert status == 202, answer
    return str(answer["data"]["task_id"])


def mail(stack: RunningStack, to: str = "zhang@example.com", **more: Any) -> str:
    return accepted(stack, "/api/v1/tasks/email", {"to": [to], "subject": "面板", "body": "一封", **more})


async def settled(stack: RunningStack, task_ids: Iterable[str]) -> dict[str, str]:
    """等这些任务都有结局；返回任务号 → 状态。一次问全部：逐个问会撞上限流。"""
    wanted = set(task_ids)

    def states() -> dict[str, str]:
        status, answer = stack.request("GET", "/api/v1/tasks?page_size=100")
        assert status in {200, 429}, answer
        items = answer["data"]["items"] if status == 200 else []
        found = {item["task_id"]: item["status"] for item in items if item["task_id"] in wanted}
        return found if len(found) == len(wanted) and set(found.values()) <= FINAL else {}

    return await eventually(states)


async def every_kind(stack: RunningStack, smtp: SmtpServer) -> None:
    """成功、重试、失败、结局不明、同步、被限流、Redis 失忆：各来一份。"""
    await business(stack, smtp)
    assert stack.request("GET", "/api/v1/tasks/00000000-0000-7000-8000-000000000000")[0] == 404
    await redis_forgets(stack)
    await again(stack)
    await too_many(stack)


async def again(stack: RunningStack) -> None:
    """寄信与同步再来一次：序列初现时的值不算增长，rate() 要等下一次。"""
    once_more = [mail(stack), accepted(stack, "/api/v1/tasks/sim", {"iccids": cards(), "force_sync": True})]
    assert set((await settled(stack, once_more)).values()) == {"succeeded"}


def cards() -> list[str]:
    return [iccid_at(Carrier.ONELINK, number) for number in range(5)]


async def business(stack: RunningStack, smtp: SmtpServer) -> dict[str, str]:
    """发信、登记与同步；返回任务号 → 结局（一个失败，一个不明，余下成功）。"""
    unknown = mail(stack)
    assert await settled(stack, [unknown]) == {unknown: "uncertain"}
    assert smtp.mails
    registered = {"sims": [{"iccid": iccid, "carrier": "onelink"} for iccid in cards()]}
    assert stack.request("POST", "/api/v1/sims", registered)[0] in {200, 201}
    day = (datetime.now(UTC) - timedelta(days=2)).date().isoformat()
    period = {"sync_type": "usage", "start_date": day, "end_date": day, "carrier": "onelink"}
    refused = mail(stack, REFUSED)
    states = await settled(
        stack,
        [
            mail(stack, priority="critical"),
            mail(stack, GREYLISTED),
            refused,
            accepted(stack, "/api/v1/tasks/sim", {"iccids": cards()}),
            accepted(stack, "/api/v1/tasks/sync", {**period, "priority": "low"}),
        ],
    )
    assert [task_id for task_id, state in states.items() if state != "succeeded"] == [refused]
    return {unknown: "uncertain", **states}


def busy(stack: RunningStack, mails: int = 400) -> None:
    """一批够忙几秒的信，三个队列都有。"""
    tasks = [
        {"type": "email:send", "to": ["zhang@example.com"], "subject": "忙", "body": "一封", "priority": priority}
        for priority, _ in zip(itertools.cycle(("critical", "default", "low")), range(mails), strict=False)
    ]
    status, answer = stack.request("POST", "/api/v1/tasks/batch", {"tasks": tasks})
    assert status in {200, 202, 207}, answer


async def redis_forgets(stack: RunningStack) -> None:
    """投递已在 Redis 里、worker 还没取走时清空 Redis；随后全部照样做完。"""
    stack.send("worker", signal.SIGSTOP)
    try:
        task_ids = [mail(stack) for _ in range(3)]
        await eventually(lambda: stack.request("GET", "/api/v1/tasks?status=pending")[1]["data"]["items"] == [])
        async with Redis.from_url(stack.env["KAGUAN_REDIS__URL"]) as redis:
            await redis.flushall()
    finally:
        stack.send("worker", signal.SIGCONT)
    assert set((await settled(stack, task_ids)).values()) == {"succeeded"}


async def too_many(stack: RunningStack) -> None:
    """这一秒的份额，别的 API 进程都用了（各进程合用 Redis 里的计数）：慢的机器一秒里发不出那么多。"""
    with psycopg.connect(stack.env["KAGUAN_DATABASE__URL"]) as connection:
        callers = [caller for (caller,) in connection.execute("select id from tb_api_token")]
    async with Redis.from_url(stack.env["KAGUAN_REDIS__URL"]) as redis:
        others = Counter(redis)

        async def answered(status: int) -> bool:
            return (await asyncio.to_thread(stack.request, "GET", "/api/v1/tasks?page_size=1"))[0] == status

        async def turned_away() -> bool:
            for caller in callers:
                await others.add(f"token/{caller}/{int(time.time())}", RATE_LIMIT)
            return await answered(429)

        await eventually(turned_away)
        await eventually(partial(answered, 200))  # 那一秒过去了
