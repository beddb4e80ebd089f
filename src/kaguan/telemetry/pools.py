"""连接池的四个数：open、in_use、idle、waiting。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from prometheus_client import Gauge
from redis.asyncio import Redis


class Counted(Protocol):
    """数着自己的连接的池。"""

    def get_stats(self) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """一个池此刻的连接数；``waiting`` 是排队等连接的请求数。"""

    open: int
    in_use: int
    idle: int
    waiting: int

    def publish(self, gauge: Gauge) -> None:
        """写进以 ``state`` 为标签的量表。"""
        for state, value in asdict(self).items():
            gauge.labels(state).set(value)


def database_figures(pool: Counted) -> PoolFigures:
    """Psycopg_pool 的 ``get_stats``（见其文档「Pool statistics」）；没出现的键即为 0。"""
    stats = pool.get_stats()
    size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
    return PoolFigures(size, size - idle, idle, stats.get("requests_waiting", 0))


def unconfirmed_commits(pool: Counted) -> int:
    """至今几个提交没等到同步备库（:class:`kaguan.database.checked_pool.CheckedPool` 数着）。"""
    return pool.get_stats().get("commits_unconfirmed", 0)


def refused_values(client: Redis) -> Mapping[str, int]:
    """键的样子 → 至今读到几个不是我们写的值（:class:`kaguan.queues.client.Client` 数着）。"""
    return dict(getattr(client, "refused", {}))


def redis_figures(client: Redis) -> PoolFigures:
    """redis-py 的 ``get_connection_count``：先空闲后在用，各一项。它不数等待者；等待发生在池用满时，由 in_use 看出。"""
    (idle, _), (in_use, _) = client.connection_pool.get_connection_count()
    return PoolFigures(idle + in_use, in_use, idle, 0)
