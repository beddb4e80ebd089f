"""对线路下手：代理切断、复位、延迟、黑洞、拒绝。"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from tests.chaos.process_faults import Missed
from tests.chaos.server_faults import LONG
from tests.chaos.stage import Stage

LOOKS = 50  # 次
LOOK = 0.1  # 秒
VERY_LONG = 9.0  # 秒
DELAY = (0.02, 0.2)  # 秒，代理每块数据的延迟


async def cut(line: str, stage: Stage, source: random.Random) -> None:
    del source
    await _broken(stage.proxies[line].cut)


async def reset(line: str, stage: Stage, source: random.Random) -> None:
    del source
    await _broken(stage.proxies[line].reset)


async def _broken(act: Callable[[], int]) -> None:
    """一条连接也没有就等一等。"""
    for _ in range(LOOKS):
        if act():
            return
        await asyncio.sleep(LOOK)
    raise Missed("没有连接")


async def slow(line: str, stage: Stage, source: random.Random) -> None:
    stage.proxies[line].delay = source.uniform(*DELAY)
    await asyncio.sleep(source.uniform(*LONG))
    stage.proxies[line].heal()


async def black(line: str, stage: Stage, source: random.Random) -> None:
    stage.proxies[line].blackhole()
    await asyncio.sleep(source.uniform(*LONG))
    stage.proxies[line].heal()


async def refused(line: str, stage: Stage, source: random.Random) -> None:
    stage.proxies[line].refuse()
    await asyncio.sleep(source.uniform(*LONG))
    stage.proxies[line].heal()


async def refused_for_long(stage: Stage, source: random.Random) -> None:
    """久到同一个键的后几个都排起了队。"""
    del source
    stage.proxies["smtp"].refuse()
    await asyncio.sleep(VERY_LONG)
    stage.proxies["smtp"].heal()
