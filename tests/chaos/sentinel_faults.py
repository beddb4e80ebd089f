"""Redis 是一主一从、三个哨兵的那一种战役：切换丢了尾巴，主停住又醒来。"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.chaos.process_faults import Missed
from tests.chaos.server_faults import backlogged
from tests.chaos.servers import Servers
from tests.chaos.stage import Stage
from tests.support.sentinel import Node, Watched, cut_off, watched

TAIL_LOST = "Redis 切换，丢了尾巴"
TAIL = (0.3, 2.0)  # 秒：断开复制之后再过这么久才杀


@asynccontextmanager
async def watched_by_sentinels(running: AbstractAsyncContextManager[Servers]) -> AsyncIterator[Servers]:
    """``running`` 起的，另加经哨兵的一组，代替那一个 Valkey。"""
    async with running as servers, watched(servers.directory) as servers.watched:
        yield servers


async def _master(stage: Stage) -> tuple[Watched, Node]:
    group = stage.servers.watched
    node = None if group is None else await group.master()
    if group is None or node is None:
        raise Missed("没有主")
    return group, node


async def failed_over_without_tail(stage: Stage, source: random.Random) -> None:
    """从库先跟不上了，再杀主，有时连一个哨兵：提升的那个没有最后那一截。旧主回来是空的，成了从。

    杀之前停住 worker 一下，尾巴里才有没人取走的投递：取走了的，丢了也看不出。
    """
    group, old = await _master(stage)
    await cut_off(old)
    await asyncio.sleep(source.uniform(*TAIL))
    async with backlogged(stage):
        await old.process.stop(signal.SIGKILL)
    if source.random() < 0.5:
        await source.choice(group.sentinels).stop(signal.SIGKILL)
    await group.moved(old)
    await group.heal()


async def master_paused(stage: Stage, source: random.Random) -> None:
    """停到被切换掉才醒来：一时有两个主，写进旧的都不作数。"""
    del source
    group, old = await _master(stage)
    if old.process.process is None:
        raise Missed("主不在")
    os.kill(old.process.process.pid, signal.SIGSTOP)
    try:
        await group.moved(old)
    finally:
        os.kill(old.process.process.pid, signal.SIGCONT)
    await group.heal()
