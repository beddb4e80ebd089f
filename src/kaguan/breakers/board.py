"""没有闭合的断路器，别的进程也看得见：各进程换状态时写进 Redis、断开期间定时续期；Redis 不在就算了，它只是参考。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Literal, TypeAlias, cast
from uuid import uuid4

import orjson
from pydantic import AwareDatetime, Field, TypeAdapter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.breakers.breaker import CLOSED, OPENED, BreakerStatus
from kaguan.flow.background import in_background
from kaguan.flow.backoff import about
from kaguan.queues.believing import Count, Word, believed
from kaguan.queues.keys import BREAKER, BREAKERS, breaker_key
from kaguan.queues.keys import key as named
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

log = get_logger(__name__)

TTL = 20  # 秒：进程死了，它的断路器过这么久就不再算数
REFRESH = 5.0  # 秒
PATIENCE = 2.0  # 秒；离开时至多等 Redis 这么久

MOST = 1_000  # 至多看这么多个
Text = Annotated[str, Field(max_length=2_000)]
Key: TypeAlias = tuple["BreakerKind", str]
Changed: TypeAlias = Callable[["BreakerKind", str, BreakerStatus], None]


class BreakerKind(StrEnum):
    """断路器护着谁。"""

    CARRIER = "carrier"  # 名字是运营商，如 onelink
    SMTP = "smtp"  # 名字是中继的 主机:端口


# 一个的样子：种类、名字、状态、从何时起、缘由、换到现在几秒
WRITTEN = TypeAdapter(tuple[BreakerKind, Word, Literal["half-opened", "opened"], AwareDatetime, Text, Count])


@dataclass(frozen=True, slots=True)
class OpenBreaker:
    """一家没有闭合的断路器，各进程的合在一起。

    Attributes:
        kind: 护着谁，:class:`BreakerKind` 的值。
        name: 运营商，或中继的 ``主机:端口``。
        state: 有一个进程断开就是 ``opened``，都在试探才是 ``half-opened``。
        since: 最早的一个从何时起没有闭合过，UTC。
        cause: 其中断开得最晚的那个的缘由，不含凭据与地址。
        processes: 有几个进程。
        seconds: 其中最近换过状态的那个，换到现在几秒；写的进程自己数的，不看谁的钟。
    """

    kind: BreakerKind
    name: str
    state: str
    since: datetime
    cause: Reason
    processes: int
    seconds: int = 0


@dataclass(slots=True)
class BreakerBoard:
    """本进程没有闭合的断路器，写给别的进程看。:meth:`changed` 是断路器的钩子。"""

    redis: Redis
    clock: Callable[[], float] = time.monotonic
    patience: float = PATIENCE
    _process: str = field(default_factory=lambda: uuid4().hex)
    _open: dict[Key, tuple[BreakerStatus, float]] = field(default_factory=dict)  # 样子，何时变成这样（单调钟）
    _closed: set[Key] = field(default_factory=set)  # 还没从 Redis 里撤下的
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, kind: BreakerKind, name: str, status: BreakerStatus) -> None:
        if status.state != CLOSED:
            self._open[kind, name] = status, self.clock()
            self._closed.discard((kind, name))
        elif self._open.pop((kind, name), None) is not None:
            self._closed.add((kind, name))
        else:
            return
        self._news.set()

    async def run_once(self) -> int:
        """写下没有闭合的、撤下已闭合的；返回各几个之和。"""
        opened, closed = dict(self._open), set(self._closed)
        if not opened and not closed:
            return 0
        try:
            async with self.redis.pipeline(transaction=False) as pipe:
                for (kind, name), (status, at) in opened.items():
                    key = breaker_key(self.redis, kind, name, self._process)
                    pipe.set(key, _packed(kind, name, status, self.clock() - at), ex=TTL)
                    pipe.sadd(named(self.redis, BREAKERS), key)
                for kind, name in closed:
                    key = breaker_key(self.redis, kind, name, self._process)
                    pipe.delete(key)
                    pipe.srem(named(self.redis, BREAKERS), key)
                await pipe.execute()
        except RedisError as error:
            log.debug("断路器的状态没有写成", error=type(error).__name__)
            return 0
        self._closed -= closed - self._open.keys()
        return len(opened) + len(closed)

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[None]:
        """进入即开始写，离开时全部撤下。"""
        try:
            async with in_background(self._run(), "breakers"):
                yield
        finally:
            self._closed |= self._open.keys()
            self._open.clear()
            try:
                async with asyncio.timeout(self.patience):
                    await self.run_once()
            except TimeoutError:
                log.debug("断路器的状态没有撤下，等它过期")

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(about(REFRESH)):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            await self.run_once()


def _packed(kind: BreakerKind, name: str, status: BreakerStatus, seconds: float) -> bytes:
    return orjson.dumps([kind, name, status.state, status.since, status.cause.packed(), int(seconds)])


async def open_breakers(redis: Redis, *, tidy: bool = False) -> list[OpenBreaker]:
    """全部进程此刻没有闭合的断路器，按种类与名字排好；一个也没有时只问 Redis 一次。

    Args:
        redis: Redis。
        tidy: 顺手从集合里去掉过期的与不是断路器的；只看看的不写。

    Raises:
        RedisError: 连不上。
    """
    found = await cast("Awaitable[set[bytes]]", redis.smembers(named(redis, BREAKERS)))  # 存根不分同步异步
    prefix = breaker_key(redis, "", "", "").rstrip(":").encode()
    ours = {key for key in found if key.startswith(prefix)}  # 别的键也许读不得：连着的一起都不给
    keys = sorted(ours)[:MOST]
    values = await redis.mget(keys) if keys else []
    gone = [*(found - ours), *(key for key, value in zip(keys, values, strict=True) if value is None)]
    if tidy and gone:
        await cast("Awaitable[int]", redis.srem(named(redis, BREAKERS), *gone))
    seen: dict[Key, list[tuple[datetime, str, str, int]]] = {}
    for value in values:
        told = value and believed(redis, BREAKER, partial(WRITTEN.validate_json, value))
        if told:
            kind, name, *rest = told
            seen.setdefault((kind, name), []).append((rest[1], rest[0], rest[2], rest[3]))
    return [
        OpenBreaker(
            kind=kind,
            name=name,
            state=OPENED if any(state == OPENED for _, state, _, _ in items) else items[0][1],
            since=min(items)[0],
            cause=Reason.unpacked(max(items)[2]),
            processes=len(items),
            seconds=min(seconds for _, _, _, seconds in items),
        )
        for (kind, name), items in sorted(seen.items())
    ]
