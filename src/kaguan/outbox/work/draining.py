"""收工：worker 这一头。有人要它收工，就和收到停止信号一样停下，再由看着它的另起一个（docs/adr/0039）。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import PASSING_ERRORS, Pool
from kaguan.database.sql import load
from kaguan.flow.background import in_background
from kaguan.flow.backoff import about
from kaguan.words.log import get_logger

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.work"
LOOK = 2.0  # 秒
LEAVING = 1.0  # 秒：停机至多 30 秒，前面已用去大半


@dataclass(slots=True)
class Draining:
    """名字是 ``worker`` 的，看它该不该收工；名字每次启动都不同，同一行管不到重启了的。"""

    pool: Pool
    worker: str
    is_asked: bool = False

    async def run_once(self) -> int:
        """看一眼；返回 1：要收工。"""
        async with asyncio.timeout(TIMEOUT), self.pool.connection() as connection:
            row = await (await connection.execute(load(PACKAGE, "drained"), {"worker": self.worker})).fetchone()
        if row is None:
            return 0
        self.is_asked = True
        log.info("要它收工：不再取件，做完手里的就走", worker=self.worker, actor=row[0], reason=row[1])
        return 1

    async def run(self, stop: asyncio.Event) -> None:
        """直到 ``stop``；要收工就设它。"""
        while not stop.is_set():
            try:
                if await self.run_once():
                    stop.set()
            except PASSING_ERRORS as error:
                log.warning("没能看要不要收工，下一遍再看", error=type(error).__name__)
            except Exception:  # 它一停，就再也叫不动：说一声，下一遍再来
                log.exception("看要不要收工意外出错，下一遍再看")
            await asyncio.sleep(about(LOOK))

    async def leave(self) -> None:
        """收完工了：带走那一行，谁也不必记得它。带不走的，一天之后由下一次收工清掉。"""
        if not self.is_asked:
            return
        try:
            async with asyncio.timeout(LEAVING), self.pool.connection() as connection:
                await connection.execute(load(PACKAGE, "drain_over"), {"worker": self.worker})
        except PASSING_ERRORS as error:
            log.warning("收工的那一行没有带走", error=type(error).__name__)


async def one_after_another(start: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
    """``start`` 做到收工或 ``stop``；收了工的，就地另起一个：应用的进程不归我们结束。"""
    while not stop.is_set():
        own = asyncio.Event()
        async with in_background(_passed_on(stop, own), "stopping"):
            await start(own)


async def _passed_on(stop: asyncio.Event, own: asyncio.Event) -> None:
    await stop.wait()
    own.set()
