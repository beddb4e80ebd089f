"""长开的应答（事件流、导出）同时至多开几条。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from kaguan.words.errors import Code, DomainError

INTERVAL = 0.5  # 秒：多久看一次库
LIFETIME = 600.0  # 秒：一条流至多开这么久，客户端会自动重连
MAX_STREAMS = 200  # 每个进程
RETRY_AFTER = 5  # 秒：要等别的流结束


class Streams:
    """正在开着的事件流与导出：一个令牌有上限，全部也有；停机时一起结束。

    Args:
        per_token: 一个令牌至多同时开着几条。
        most: 全部令牌至多同时开着几条。
        interval: 多久看一次库，秒。
        lifetime: 一条至多开多久，秒。
    """

    def __init__(
        self, per_token: int, most: int = MAX_STREAMS, interval: float = INTERVAL, lifetime: float = LIFETIME
    ) -> None:
        self._per_token = per_token
        self._most = most
        self.interval = interval
        self.lifetime = lifetime
        self._ends: dict[asyncio.Event, int] = {}
        self._held: Counter[int] = Counter()
        self._stopping = False

    @contextmanager
    def opened(self, token: int) -> Iterator[asyncio.Event]:
        """占一条，离开时归还；给出的事件在该结束时置位（停机，或由占着的人）。

        Raises:
            DomainError: 1006，这个令牌的满了；2003，全部的满了。
        """
        if self._held[token] >= self._per_token:
            raise DomainError(
                Code.TOO_MANY_REQUESTS,
                f"一个令牌至多同时开 {self._per_token} 条事件流或导出",
                f"at most {self._per_token} event streams or exports at a time per token",
                retry_after=RETRY_AFTER,
            )
        if len(self._ends) >= self._most:
            raise DomainError(Code.OVERLOADED)
        end = asyncio.Event()
        if self._stopping:
            end.set()
        self._ends[end] = token
        self._held[token] += 1
        try:
            yield end
        finally:
            del self._ends[end]
            self._held -= Counter({token: 1})  # 减到零的不留着

    def stop(self) -> None:
        """停机：开着的都结束，此后来的说完现状就结束。"""
        self._stopping = True
        for end in self._ends:
            end.set()


STREAMS = web.AppKey("STREAMS", Streams)


async def stop_streams(app: web.Application) -> None:
    app[STREAMS].stop()
