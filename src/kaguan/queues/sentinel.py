"""经哨兵找主的连接池：主由哨兵说（redis-py 的 :class:`Sentinel`），换了主，连着旧主的连接一条也不再用。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kaguan.config.sentinel import SentinelAddress
from kaguan.queues.connection import told_when_lost
from kaguan.words.log import get_logger

log = get_logger(__name__)

ASK_AGAIN = 5.0  # 秒：连接都好好的也问一声：旧主停过又醒来、被隔在一边，它自己不知道已不是主


class Sentinels(Sentinel):
    """逐个问；都说不出的，带上最后一个缘由（redis-py 只留错误的类别，看不出是证书、口令还是不在）。"""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """谁是主。

        Raises:
            MasterNotFoundError: 没有一个哨兵说得出。
        """
        why = ""
        for place, sentinel in enumerate(self.sentinels):
            try:
                state = (await sentinel.sentinel_masters()).get(service_name)  # type: ignore[no-untyped-call] # 没有类型
            except (RedisConnectionError, RedisTimeoutError) as error:
                why = f"：{error}"
                continue
            if state and self.check_master_state(state, service_name):
                self.sentinels[0], self.sentinels[place] = sentinel, self.sentinels[0]  # 说得出的，下一次先问
                return state["ip"], state["port"]
        raise MasterNotFoundError(f"没有一个哨兵说得出 {service_name} 的主{why}")


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """主的连接；满了就等。"""

    _asking: asyncio.Future[tuple[str, int]] | None = None
    _asked_at = -math.inf  # 事件循环的钟

    async def get_master_address(self) -> tuple[str, int]:
        """同时来问的只问一次：几十条连接一起断了，哨兵也只多一个客人；等不及的走了，照样问到底。

        Raises:
            MasterNotFoundError: 没有一个哨兵说得出。
        """
        return await asyncio.shield(self._ask())

    def _ask(self) -> asyncio.Future[tuple[str, int]]:
        if self._asking is None or self._asking.done():
            self._asked_at = asyncio.get_running_loop().time()
            self._asking = asyncio.ensure_future(self._find())
            self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())  # 也许没有人等了
        return self._asking

    async def _find(self) -> tuple[str, int]:
        before = self.master_address
        found: tuple[str, int] = await super().get_master_address()  # type: ignore[no-untyped-call] # 没有类型
        if before not in {None, found}:
            log.warning("Redis 换了主", service=self.service_name, host=found[0], port=found[1])
        return found

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """借出之前：久没有问过哨兵的，在旁边问一声；连着旧主的断开，重连就到新的。"""
        if asyncio.get_running_loop().time() - self._asked_at > ASK_AGAIN:
            self._ask()
        if (
            isinstance(connection, SentinelManagedConnection)
            and (connection.host, connection.port) != self.master_address
        ):
            await connection.disconnect()
        await super().ensure_connection(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 签名随 redis-py
        """全断（关闭）时，到哨兵的也断。"""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            if self._asking is not None:
                self._asking.cancel()
            await asyncio.gather(*(sentinel.aclose() for sentinel in self.sentinel_manager.sentinels))


def master_pool(address: SentinelAddress, options: Mapping[str, Any], patience: float) -> MasterPool:
    """``options`` 是连接主的，地址里的优先；一个哨兵 ``patience`` 秒不答，就问下一个。"""
    sentinels = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "retry": Retry(NoBackoff(), 0),
        **_options(address.sentinel),
    }
    own = {**options, **_options(address.server)}
    own["connection_class"] = SentinelManagedSSLConnection if own.pop("ssl") else SentinelManagedConnection
    manager = Sentinels(address.hosts, sentinel_kwargs=sentinels)  # type: ignore[no-untyped-call] # 没有类型
    for sentinel in manager.sentinels:
        told_when_lost(sentinel.connection_pool)
    return MasterPool(address.service, manager, **own)  # type: ignore[no-untyped-call] # 没有类型


def _options(url: str) -> dict[str, Any]:
    """地址里的口令、TLS 与别的参数；主机另给。"""
    found: dict[str, Any] = dict(parse_url(url))
    ssl = found.pop("connection_class", None) is not None
    return {name: value for name, value in found.items() if name not in {"host", "port"}} | {"ssl": ssl}
