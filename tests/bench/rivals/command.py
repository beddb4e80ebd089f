"""对手的命令行，在它自己的虚拟环境里跑；只用标准库与 uvloop，不导入我们的包。

`install` 建表；`fill N` 备好 N 个；`work` 做到被停下；`press --rate R --seconds S` 按泊松到达入队，印出 JSON。
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import uvloop

Enqueue = Callable[[], Awaitable[object]]

SEED = 20_261
BATCH = 1_000  # 备活时一条语句多少个


@dataclass(frozen=True, slots=True)
class Side:
    """一个对手。``work`` 做到事件被置位；``producing`` 打开入队用的连接，给出「入队一个」。"""

    install: Callable[[], Awaitable[None]]
    fill: Callable[[int], Awaitable[None]]
    work: Callable[[asyncio.Event], Awaitable[None]]
    producing: Callable[[], AbstractAsyncContextManager[Enqueue]]


def database_url() -> str:
    return os.environ["RIVAL_DATABASE_URL"]


def knob() -> str:
    """它的并发数或批的大小；取多少写在 tests/bench/ledgers.py，`python -m tests.bench --tune` 试出来的。"""
    return os.environ["RIVAL_KNOB"]


def run(side: Side) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    modes = parser.add_subparsers(dest="mode", required=True)
    modes.add_parser("install")
    modes.add_parser("fill").add_argument("rows", type=int)
    modes.add_parser("work")
    pressing = modes.add_parser("press")
    pressing.add_argument("--rate", type=float, required=True)
    pressing.add_argument("--seconds", type=float, required=True)
    uvloop.run(_dispatch(side, parser.parse_args()))


async def _dispatch(side: Side, options: argparse.Namespace) -> None:
    match options.mode:
        case "install":
            await side.install()
        case "fill":
            await side.fill(options.rows)
        case "work":
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            await side.work(stop)
        case _:
            sys.stdout.write(json.dumps(await _press(side, options.rate, options.seconds)))


async def _press(side: Side, rate: float, seconds: float) -> dict[str, float]:
    """开环：到点就入队，不等上一个。"""
    loop, dice = asyncio.get_running_loop(), random.Random(SEED)
    count = 0
    async with side.producing() as enqueue:
        used, started = _cpu(), loop.time()
        moment = started
        async with asyncio.TaskGroup() as group:
            while (moment := moment + dice.expovariate(rate)) < started + seconds:
                if moment > loop.time():
                    await asyncio.sleep(moment - loop.time())
                group.create_task(_one(enqueue))
                count += 1
        elapsed, cpu = loop.time() - started, _cpu() - used
    return {"requests": count, "seconds": elapsed, "errors": 0, "cpu": cpu}


async def _one(enqueue: Enqueue) -> None:
    await enqueue()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
