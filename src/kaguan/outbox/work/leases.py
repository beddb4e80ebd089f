"""租约：本进程手里的每次尝试登记在此，一次心跳一条 UPDATE 全部续上（不是一个任务一条）。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from kaguan.database.pool import PASSING_ERRORS
from kaguan.database.sql import columns, load
from kaguan.flow.background import in_background
from kaguan.flow.backoff import equal_jitter, jitter
from kaguan.outbox.work.fence import COLUMNS, Token

if TYPE_CHECKING:
    from kaguan.outbox.work.attempt import Attempt

from kaguan.database.pool import Connection, Pool
from kaguan.words.log import get_logger

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.work"
BEATS_PER_LEASE = 3
RELEASE_PATIENCE = 3.0  # 秒：停机至多 30 秒，等处理器已用去大半
RELEASE_BACKOFF, RELEASE_BACKOFF_MAX = 0.1, 0.4  # 秒


@dataclass(slots=True)
class Leases:
    """``lease`` 单位秒，心跳间隔是它的三分之一；``patience`` 是停机时为交还坚持的秒数。"""

    pool: Pool
    worker: str
    lease: float
    patience: float = RELEASE_PATIENCE
    _held: dict[Token, Attempt] = field(default_factory=dict)
    _ending: set[Token] = field(default_factory=set)  # 手里的，结局正在写
    _abandoned: set[Token] = field(default_factory=set)

    @property
    def interval(self) -> float:
        return self.lease / BEATS_PER_LEASE

    @property
    def is_busy(self) -> bool:
        """手里有任务。"""
        return bool(self._held)

    @contextmanager
    def holding(self, attempt: Attempt) -> Iterator[Callable[[], None]]:
        """里面一拍拍地续租；被取消着离开的没有结局，交还。

        给的那个在写结局之前叫：从此查不到的，多半是写下了、应答还在路上；丢没丢，结算自己知道。
        """
        token = attempt.token
        self._held[token] = attempt
        try:
            yield partial(self._ending.add, token)
        except asyncio.CancelledError:
            self.abandon([token])
            raise
        finally:
            self._held.pop(token, None)
            self._ending.discard(token)

    def abandon(self, tokens: Iterable[Token]) -> None:
        """也许认领了、但没有人会做的：下一拍（或停机时）交还；其实没认领的，交还什么也不动。"""
        self._abandoned.update(tokens)

    async def run_once(self) -> int:
        """续租一次。不再归自己的立即告知处理器停手；用户要求取消的也在这里知道。返回 0：总是等下一拍。"""
        await self._hand_back(list(self._abandoned))
        held = dict(self._held)
        if not held:
            return 0
        async with self.pool.connection() as connection:
            ours = await heartbeat(connection, list(held), self.lease)
        for token, attempt in held.items():
            if token not in ours:
                # 心跳途中结算的、刚结算完的不算丢
                if token in self._held and token not in self._ending:
                    log.warning("租约已失", task_id=str(attempt.task_id), delivery=attempt.delivery)
                    attempt.lost.set()
            elif ours[token]:
                attempt.cancel_requested.set()
        return 0

    async def release_all(self) -> int:
        """停机：交还手里剩下的，不计尝试次数；返回交还的个数。

        PostgreSQL 不在、行被人锁着，就坚持 ``patience`` 秒，再不行由租约收回。
        """
        tokens = [*self._held, *self._abandoned]
        returned = tries = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience) as limit:
                while tokens and not limit.expired():  # 时限的取消会被 psycopg 吞掉，只此一次
                    try:
                        mine = await self._hand_back(tokens)
                    except PASSING_ERRORS as error:
                        log.warning("交还没写成，重试", count=len(tokens), error=type(error).__name__)
                    else:
                        tokens = [token for token, locked in mine.items() if locked]
                        returned += len(mine) - len(tokens)
                    if tokens:
                        tries += 1
                        await asyncio.sleep(equal_jitter(tries, RELEASE_BACKOFF, RELEASE_BACKOFF_MAX))  # 带抖动
        if tokens:
            log.error("没能交还，由租约收回", count=len(tokens))
        return returned

    async def _hand_back(self, tokens: list[Token]) -> dict[Token, bool]:
        """交还这些；返回仍归自己的 → 是否被别人锁着、因此没交成。"""
        if not tokens:
            return {}
        async with self.pool.connection() as connection:
            mine = await release(connection, tokens)
        self._abandoned.difference_update(token for token in tokens if not mine.get(token))
        return mine


@asynccontextmanager
async def beating(leases: Leases) -> AsyncIterator[None]:
    """进入即开始心跳，离开即停。"""
    async with in_background(_run(leases), "heartbeat"):
        yield


async def _run(leases: Leases) -> None:
    while True:
        try:
            async with asyncio.timeout(leases.lease):
                await leases.run_once()
        except PASSING_ERRORS as error:
            log.warning("心跳失败，下一拍再试", error=type(error).__name__)
        except Exception:  # 心跳停了租约全失：说一声，下一拍再来
            log.exception("心跳意外出错，下一拍再试")
        await asyncio.sleep(jitter(0.75 * leases.interval, leases.interval))  # 只早不晚：晚了租约就过期


async def heartbeat(connection: Connection, held: Sequence[Token], lease: float) -> dict[Token, bool]:
    """续租；返回仍归自己的（别人锁着、因此没续上的也算）→ 用户是否要求取消。"""
    cursor = await connection.execute(load(PACKAGE, "heartbeat"), {**columns(COLUMNS, held), "lease": lease})
    return {Token(*row[:3]): row[3] for row in await cursor.fetchall()}


async def release(connection: Connection, held: Sequence[Token]) -> dict[Token, bool]:
    """交还未做完的；返回仍归自己的 → 是否被别人锁着、因此没交成。"""
    cursor = await connection.execute(load(PACKAGE, "release"), columns(COLUMNS, held))
    return {Token(*row[:3]): row[3] for row in await cursor.fetchall()}
