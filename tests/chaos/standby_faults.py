"""对一主一备下手：杀了主的、提升备的，再抄一份备，一场战役里可以一次次来；备的离开；丢了尾巴的备被提升。"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from dataclasses import replace

from kaguan.dev.program import StartError
from tests.chaos.process_faults import Missed
from tests.chaos.rewinding import Cut, cut_between
from tests.chaos.server_faults import LONG
from tests.chaos.servers import Server
from tests.chaos.stage import Stage
from tests.chaos.tail import Memory, cut_off, remembered
from tests.support.eventually import eventually
from tests.support.places import own_port
from tests.support.servers import UNSYNCED, told
from tests.support.standby import Pair

DEATHS = (signal.SIGKILL, signal.SIGQUIT)
TAIL = (0.3, 0.9)  # 秒：WAL 断了这么久，主的才死
LEAVING = 20.0  # 秒：被杀的主的子进程各自散去


async def promoted(stage: Stage, source: random.Random) -> None:
    """主的死，备的提升；照新的主抄一份备，追上为止。"""
    pair = await _attached(stage)
    await pair.primary_process.stop(source.choice(DEATHS))
    at = time.time()
    await _promote(stage, pair)
    stage.cuts.append(Cut(at))
    await pair.copy()


async def promoted_behind(stage: Stage, source: random.Random) -> None:
    """WAL 先断一会儿，主的才死：不等备的就提交，丢了也没有人去数。"""
    pair = await _attached(stage)
    await _killed_behind(pair, source)
    at = time.time()
    await _promote(stage, pair)
    stage.cuts.append(Cut(at))
    await pair.copy()


async def promoted_without_tail(stage: Stage, source: random.Random) -> None:
    """WAL 先断一会儿：其间提交的，新的主都不知道。丢了什么，拿死了的主的数据目录来看。"""
    pair = await _attached(stage)
    await _killed_behind(pair, source)
    known = await remembered(pair.standby.url_of(stage.name))
    at = time.time()
    await _promote(stage, pair)
    former = await _exhumed(stage, pair)
    stage.tails.append(cut_off(former, known))
    stage.cuts.append(cut_between(at, former.histories, known.histories))
    await pair.copy()


async def standby_gone(stage: Stage, source: random.Random) -> None:
    """备的离开一会儿：同步的，主的提交一个也成不了，直到它回来、追上。"""
    pair = await _attached(stage)
    pair.line.refuse()
    await asyncio.sleep(source.uniform(*LONG))
    pair.line.heal()
    await eventually(pair.is_attached)


async def _attached(stage: Stage) -> Pair:
    pair = stage.servers.pair
    if pair is None:
        raise Missed("没有备库")
    await eventually(pair.is_attached)
    return pair


async def _killed_behind(pair: Pair, source: random.Random) -> None:
    pair.line.blackhole()
    await asyncio.sleep(source.uniform(*TAIL))
    await pair.primary_process.stop(source.choice(DEATHS))
    pair.line.refuse()
    await eventually(pair.has_replayed)


async def _promote(stage: Stage, pair: Pair) -> None:
    await pair.promote()
    stage.promoted.append(time.time())
    stage.follow(pair)


async def _exhumed(stage: Stage, pair: Pair) -> Memory:
    """死了的主记得的：另用一个端口起来看一眼，没有别人连得上。"""
    dead = replace(pair.standby, port=own_port())
    process = Server(told(dead.program(), UNSYNCED), pair.standby_process.log)
    deadline = time.monotonic() + LEAVING
    while True:
        try:
            await process.start()
            break
        except StartError:  # 它的子进程还没散尽，共享内存还占着
            if time.monotonic() > deadline:
                raise
    try:
        return await remembered(dead.url_of(stage.name))
    finally:
        await process.stop(signal.SIGKILL)
