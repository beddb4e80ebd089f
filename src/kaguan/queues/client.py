"""Redis 客户端：显式的池上限、时限与保活（``from_url`` 的默认值一样也没有）。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import RedisError

from kaguan.config.model import NAMESPACE
from kaguan.config.model import Redis as RedisConfig
from kaguan.config.sentinel import sentinel_address
from kaguan.flow.backoff import while_starting
from kaguan.queues.connection import told_when_lost
from kaguan.queues.keys import KINDS
from kaguan.queues.sentinel import master_pool
from kaguan.words.log import get_logger

log = get_logger(__name__)

HEALTH_CHECK_INTERVAL = 15  # 秒
ACQUIRE_TIMEOUT = 3.0  # 秒：池里没有空闲连接时等多久
RETRIES = 1  # 断线时单个命令重试一次；更久的断线由调用者退避


class QueueUnavailableError(Exception):
    """Redis cannot be reached when the connections are opened, after as many tries as are configured."""


class Client(Redis):
    """数着读到过几个看不懂的值。

    Attributes:
        namespace: 我们的键在谁的名下。
        refused: 键的样子 → 几个；都从 0 数起，告警才看得见第一次。
    """

    namespace = NAMESPACE

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.refused = Counter(dict.fromkeys(KINDS, 0))


def build_client(
    config: RedisConfig,
    connections: int | None = None,
    namespace: str = NAMESPACE,
    acquire_timeout: float = ACQUIRE_TIMEOUT,
) -> Redis:
    """按配置建客户端；不连接。``connections`` 覆盖池的上限（worker 的每个取件槽占一个连接）。"""
    url = config.url.get_secret_value()
    keepalive = {} if urlsplit(url).scheme == "unix" else {"socket_keepalive": True}  # UNIX 套接字没有这一项
    options: dict[str, Any] = {
        "max_connections": connections or config.pool_max,
        "timeout": acquire_timeout,
        "socket_timeout": config.socket_timeout,
        "socket_connect_timeout": config.connect_timeout,
        **keepalive,
        "health_check_interval": HEALTH_CHECK_INTERVAL,
        "retry": Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), RETRIES),
        "decode_responses": False,
    }
    watched = sentinel_address(url)
    pool = (
        BlockingConnectionPool.from_url(url, **options)
        if watched is None
        else master_pool(watched, options, config.connect_timeout)
    )
    told_when_lost(pool)
    client = cast("Client", Client.from_pool(pool))
    client.namespace = namespace
    return client


async def wait_for_redis(client: Redis, config: RedisConfig) -> None:
    """启动时等 Redis：指数退避，至多 ``connect_attempts`` 次；连上就备好 ``pool_idle`` 个连接。

    Raises:
        QueueUnavailableError: 次数用尽。
    """

    async def connect(attempt: int) -> None:
        log.info("连接 Redis", attempt=attempt)
        # 并发的 PING 各占一个连接，用完都留在池里；一个败了也等完余下的，不留下接着连的
        pings = [client.ping() for _ in range(max(1, config.pool_idle))]
        told = await asyncio.gather(*pings, return_exceptions=True)  # type: ignore[arg-type] # redis-py 的类型把同步与异步混在一起
        for failure in told:
            if isinstance(failure, BaseException):
                raise failure

    try:
        await while_starting(connect, RedisError, config.connect_attempts, config.connect_backoff)
    except RedisError as error:
        raise QueueUnavailableError(
            f"连不上 Redis（试了 {config.connect_attempts} 次）：{error}；"
            "请检查它的地址与服务器是否在运行 / Redis cannot be reached: check its URL and whether it runs"
        ) from None


@asynccontextmanager
async def open_redis(
    config: RedisConfig,
    connections: int | None = None,
    namespace: str = NAMESPACE,
    acquire_timeout: float = ACQUIRE_TIMEOUT,
) -> AsyncIterator[Redis]:
    """客户端，离开时关闭全部连接；不等服务器就绪（Redis 可以不在）。"""
    client = build_client(config, connections, namespace, acquire_timeout)
    try:
        yield client
    finally:
        await client.aclose(close_connection_pool=True)
