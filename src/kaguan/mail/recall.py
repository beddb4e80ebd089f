"""外面恢复了，就把在等它的提前叫回来：等的时候歇得久、不空跑，恢复之后又不必等到点。"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from redis.asyncio import Redis

from kaguan.breakers.board import BreakerKind, open_breakers
from kaguan.breakers.breaker import OPENED
from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import Pool
from kaguan.outbox.work import waiting
from kaguan.words.log import get_logger

log = get_logger(__name__)

FIRST_ROOM = 5  # 头一次至多叫几个：万一没有真的恢复，只空跑这么几趟
NEAR = 30.0  # 秒；剩下不到这么久的自己会到点
SPREAD = 1.0  # 秒；叫回来的在这么久之内错开
CALM = 4  # 没有断着的、也没有叫到谁：多歇几波的工夫


@dataclass(slots=True)
class Recall:
    """没有一个进程的断路器断开着才叫；一波至多几个，从 :data:`FIRST_ROOM` 起一波翻一番，至多 ``per_second``。

    都半开着，就叫头一波：连得上而会话里不行的主机，只有真的任务试得出它好了没有；
    一次半开只叫一波，``NEAR`` 秒之后还半开着才再叫。
    断路器在 Redis 里的状态丢了也不要紧：叫回来的几个失败了，断路器就又断开，重新从头试起。
    """

    pool: Pool
    redis: Redis
    kind: BreakerKind
    per_second: int
    pace: float = 1.0  # 秒；一波与一波至少隔这么久
    _next_at: float = -math.inf  # 事件循环的钟
    _room: int = FIRST_ROOM
    _try_at: float = -math.inf  # 半开时，此刻之后才叫头一波

    async def run_once(self) -> int:
        """返回叫回来几个；没有叫就是 0。"""
        now = asyncio.get_running_loop().time()
        if now < self._next_at:
            return 0
        states = {one.state for one in await open_breakers(self.redis, tidy=True) if one.kind is self.kind}
        self._next_at = now + self.pace  # 问到了才算一次：Redis 不在时别一轮说不在、一轮说恢复
        if states:
            self._room = FIRST_ROOM
        if OPENED in states:
            self._try_at = -math.inf
            return 0
        if states and now < self._try_at:
            return 0
        self._try_at = now + NEAR
        async with asyncio.timeout(TIMEOUT), self.pool.connection() as connection:
            recalled = await waiting.recall(
                connection, self.kind, room=min(self._room, self.per_second), near=NEAR, spread=SPREAD
            )
        if recalled:
            self._room = min(2 * self._room, max(self.per_second, FIRST_ROOM))
            log.info("外面恢复了，叫回在等的", kind=self.kind, count=recalled)
        else:
            self._room = FIRST_ROOM
            if not states:
                self._next_at += CALM * self.pace
        return recalled
