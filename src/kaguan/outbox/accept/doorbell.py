"""门铃：提交之后唤醒 relay，经 Redis。丢一声只是多等一次轮询；Redis 不在时 relay 本来也交不出去。

不用 NOTIFY：它每声让按的、听的各提交一次，又要一条不经连接池的连接（docs/adr/0029）。
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from kaguan.config.sentinel import sentinel_address
from kaguan.database.group_commit import Gathering
from kaguan.flow.background import in_background
from kaguan.flow.backoff import RECONNECT, jitter
from kaguan.queues.keys import DOORBELL, doorbell, key
from kaguan.words.log import get_logger

log = get_logger(__name__)

INTERVAL = 0.003  # 秒；一个进程至多这么久按一次
BLOCKED, QUIET = 0.2, 5.0  # 秒：同步的铃至多让提交的人等这么久；按不成的，歇这么久再按
BLOCKING_CONNECTIONS = 4
SILENCE = 15.0  # 秒；这么久没有铃就问一声，再这么久没有回音就换一条连接


class Doorbell:
    """``ring()`` 只是置位，不等待；:meth:`ringing` 的后台真正按它，来得密的至多每 ``interval`` 秒一次。"""

    def __init__(self, redis: Redis, interval: float = INTERVAL) -> None:
        self._redis = redis
        self._interval = interval
        self._gathering = Gathering(interval)
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """有新的待交付（受理、放行）：提交之后调用。"""
        self._rung.set()

    async def run(self) -> None:
        """按铃的后台循环；按不成的由 relay 的轮询补上。"""
        while True:
            await self._rung.wait()
            self._rung.clear()
            # 来得密的，一段时间里的铃合成一声；稀的不等
            pause = self._interval if self._gathering.took(1, asyncio.get_running_loop().time()) else 0.0
            try:
                await self._redis.publish(key(self._redis, DOORBELL), b"")
            except RedisError as error:
                pause = jitter(*RECONNECT)
                log.debug("铃没按成，relay 轮询时会看见", error=type(error).__name__)
            await asyncio.sleep(pause)  # 连不上的隔一会儿再按，带抖动

    @asynccontextmanager
    async def ringing(self) -> AsyncIterator[Doorbell]:
        """在后台跑起来，离开时停下。"""
        async with in_background(self.run(), "doorbell"):
            yield self


class BlockingBell:
    """同步的驱动按的铃：提交之后当场按，至多等 ``blocked`` 秒；按不成就歇一会儿，由 relay 的轮询补上。

    经哨兵的地址没有铃：找主要问一圈，不值得让提交的人等。
    """

    def __init__(self, url: str, namespace: str, blocked: float = BLOCKED) -> None:
        self._channel = doorbell(namespace)
        self._quiet_until = 0.0
        self._redis = None
        if sentinel_address(url) is None:
            self._redis = BlockingRedis.from_url(
                url,
                socket_timeout=blocked,
                socket_connect_timeout=blocked,
                max_connections=BLOCKING_CONNECTIONS,
                retry=Retry(NoBackoff(), 0),
            )

    def ring(self) -> None:
        """提交之后调用；哪个线程都行。"""
        if self._redis is None or time.monotonic() < self._quiet_until:
            return
        try:
            self._redis.publish(self._channel, b"")
        except RedisError as error:
            self._quiet_until = time.monotonic() + QUIET
            log.debug("铃没按成，relay 轮询时会看见", error=type(error).__name__)

    def close(self) -> None:
        """断开；再按就再连。"""
        if self._redis is not None:
            self._redis.close()


async def listen(redis: Redis, heard: Callable[[], None]) -> None:
    """听铃，断了就重连，直到被取消；每（重）连上先调用一次 ``heard``：可能漏听。"""
    failures = 0
    while True:
        try:
            async with redis.pubsub() as subscription:
                await subscription.subscribe(key(redis, DOORBELL))
                asked = False
                while True:
                    if await subscription.get_message(timeout=SILENCE) is not None:
                        asked = False
                        if failures:
                            log.info("又听得见门铃", failures=failures)
                            failures = 0
                        heard()
                    elif asked:
                        log.warning("听铃的连接没有回音，重连")
                        break
                    else:
                        asked = True
                        await subscription.ping()
        except RedisError as error:
            failures += 1
            if failures == 1:
                log.warning("听不到门铃，靠轮询，一直重连", error=type(error).__name__, reason=str(error))
        except Exception:  # 它一死，门铃从此无人听：说一声，重来
            log.exception("听铃时意外出错，重连")
        await asyncio.sleep(jitter(*RECONNECT))  # Redis 不在时不空转
