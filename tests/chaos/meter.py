"""战役当中量着：每个队列在 Redis 里有几个投递等着，每个进程占多少内存（I5）。"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from kaguan.config.model import Relay
from kaguan.outbox.vocabulary import Priority

if TYPE_CHECKING:
    from tests.chaos.stage import Cast, Stage

INTERVAL = 1.0  # 秒
EARLY = (0.08, 0.15)  # 进度：已经热起来
LATE = (0.95, 1.0)
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """``progress`` 是 0–1；``memory`` 是进程名 → 兆字节。"""

    progress: float
    depth: int = 0  # 最深的那个队列，等着的几个：执行中的受槽位限制，不在水位之内
    memory: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Meter:
    stage: Stage
    progress: Callable[[], float]
    readings: list[Reading] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """量到 ``stop``；不靠取消：取消若落在客户端关连接的那一刻，会被它当成超时吞掉。"""
        while not stop.is_set():
            memory = {
                unit.name: size
                for unit in self.stage.fleet.all()
                if unit.pid is not None
                if (size := resident(unit.pid))
            }
            self.readings.append(Reading(self.progress(), await self._depth(), memory))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), INTERVAL)

    async def _depth(self) -> int:
        """问不到时当作 0：Redis 不在，里面就什么也没有。"""
        with suppress(RedisError, OSError):
            async with self.stage.redis() as client:
                return max([int(await client.llen(f"saq:{queue}:queued")) for queue in Priority])  # type: ignore[misc] # redis-py 的类型把同步与异步混在一起
        return 0


@asynccontextmanager
async def metered(meter: Meter) -> AsyncIterator[Meter]:
    stop = asyncio.Event()
    task = asyncio.create_task(meter.run(stop), name="meter")
    try:
        yield meter
    finally:
        stop.set()
        await task


def resident(pid: int) -> float:
    """proc(5)：statm 的第二个数是常驻页数。没有 /proc 的系统上是 0。"""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def depth_bounds(cast: Cast) -> tuple[int, int]:
    """水位；与最多超出多少：几个 relay 同时看到还有余地，各交一批。"""
    fields = Relay.model_fields
    mark = int(cast.pace.get("KAGUAN_RELAY__HIGH_WATER", fields["high_water"].default))
    return mark, int(fields["batch_size"].default) * cast.relays


def growth(readings: list[Reading]) -> dict[str, tuple[float, float]]:
    """进程名 → 一成进度与最后的内存（中位，兆字节）；两头都量到了的才有。"""
    early, late = _within(readings, EARLY), _within(readings, LATE)
    return {name: (median(early[name]), median(late[name])) for name in early if name in late}


def _within(readings: list[Reading], span: tuple[float, float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for reading in readings:
        if span[0] <= reading.progress <= span[1]:
            for name, size in reading.memory.items():
                found.setdefault(name, []).append(size)
    return found
