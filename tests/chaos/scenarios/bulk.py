"""成批提交记账任务，与场景共用的几个动作。"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from typing import Any

import aiohttp

from kaguan.flow.probes import LOOPBACK
from tests.chaos.campaign import drain
from tests.chaos.checker import judge
from tests.chaos.evidence import collect
from tests.chaos.journal import PRIORITIES, Entry, Kind
from tests.chaos.stage import Stage
from tests.chaos.verdict import Verdict

BATCH = 1_000
TIMEOUT = 60.0  # 秒：一批
POLL = 0.02  # 秒
# 量目标用产品自己的默认，不用战役加快了的那一套
PRODUCT_PACE = {
    "KAGUAN_WORKER__LEASE": "15",
    "KAGUAN_RELAY__PRESENCE_AGE": "3",
    "KAGUAN_RELAY__BACKSTOP_AGE": "120",
    "KAGUAN_API__REQUEST_TIMEOUT": "30",  # 一千个一批，机器忙时三秒不够
    "KAGUAN_DATABASE__STATEMENT_TIMEOUT": "30",
}


async def submit(stage: Stage, count: int, first: int = 0, priorities: tuple[str, ...] = PRIORITIES) -> list[Entry]:
    """提交 ``count`` 个记账任务，编号从 ``first`` 起，优先级轮着来；返回账。"""
    source = random.Random(first)
    journal = [
        Entry(Kind.LEDGER, f"8986001{number:012d}", source.choice(priorities), tries=1)
        for number in range(first, first + count)
    ]
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, headers=stage.authorization) as session:
        for start in range(0, count, BATCH):
            chunk = journal[start : start + BATCH]
            url = f"http://{LOOPBACK}:{stage.api_ports[0]}/api/v1/tasks/batch"
            async with session.post(url, json={"tasks": [_item(entry) for entry in chunk]}) as answer:
                answer.raise_for_status()
                items = (await answer.json())["data"]["items"]
            for entry, item in zip(chunk, items, strict=True):
                entry.answers.add(str(item["task"]["task_id"]))
    return journal


def _item(entry: Entry) -> dict[str, Any]:
    return {"type": "sim:status_sync", "iccids": [entry.marker], "priority": entry.priority}


def stop_workers(stage: Stage) -> None:
    for unit in stage.fleet.units["worker"]:
        unit.send(signal.SIGSTOP)


def continue_workers(stage: Stage) -> None:
    for unit in stage.fleet.units["worker"]:
        unit.send(signal.SIGCONT)


async def scalar(stage: Stage, query: str, parameters: dict[str, object] | None = None) -> float | None:
    """一个数；NULL 是 None。"""
    async with stage.postgres() as connection:
        row = await (await connection.execute(query.encode(), parameters)).fetchone()
    return None if row is None or row[0] is None else float(str(row[0]))


async def settled(stage: Stage, stalled: float) -> float:
    """等到全部了结；返回用了几秒。"""
    began = time.monotonic()
    await drain(stage, stalled)
    return time.monotonic() - began


async def appears(stage: Stage, query: str, limit: float, parameters: dict[str, object] | None = None) -> float | None:
    """反复问，直到有数；``limit`` 秒之后放手，返回 None。"""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        value = await scalar(stage, query, parameters)
        if value is not None:
            return value
        await asyncio.sleep(POLL)
    return None


async def verdict(stage: Stage, journal: list[Entry]) -> tuple[Verdict, Counter[str]]:
    """取证、停下、裁判；返回裁决与各原因的重投次数。"""
    evidence = await collect(stage, journal)
    evidence.stuck = await stage.fleet.stop()
    evidence.crashes = stage.fleet.crashes()
    return judge(evidence), Counter(cause for _, cause in evidence.redrives)
