"""后台采样：事件循环的迟滞、连接池。一个进程一个，没有跨度，不在大表上计数。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from kaguan.flow.background import happens
from kaguan.telemetry.metrics import Declaring
from kaguan.telemetry.pools import Counted, database_figures, redis_figures, refused_values, unconfirmed_commits
from kaguan.telemetry.setup import spans_dropped
from kaguan.words.log import get_logger

log = get_logger(__name__)

TICK = 1.0  # 秒；采样周期
PROBES = 4  # 每个周期里探几次迟滞


class ProcessMetrics(Declaring):
    """任何进程都有的：连接池、事件循环、丢掉的跨度。"""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.database_pool = self._gauge(
            "kaguan_database_pool_connections", "数据库连接：open in_use idle waiting", "state"
        )
        self.redis_pool = self._gauge("kaguan_redis_pool_connections", "Redis 连接：open in_use idle waiting", "state")
        self.loop_lag = self._gauge("kaguan_event_loop_lag_seconds", "事件循环的迟滞：上个采样周期内最大的一次")
        self.commits_unconfirmed = self._counter(
            "kaguan_commits_unconfirmed", "没等到同步备库就放手的提交：本机有，备库未必有"
        )
        self.redis_refused = self._counter("kaguan_redis_values_refused", "Redis 里不是我们写的值，当作没有", "key")
        self.spans_dropped = self._counter("kaguan_spans_dropped", "因队列满或导出失败丢掉的跨度")


@dataclass(slots=True)
class Monitor:
    """一个进程的采样器。

    Attributes:
        registry: 指标登记在这里。
        dropped: 至今丢了几个跨度。
        pool_interval: 多久把连接池写进日志一次，秒。
    """

    registry: CollectorRegistry
    pool: Counted
    redis: Redis | None
    pool_interval: float
    dropped: Callable[[], int] = spans_dropped
    _pools_logged_at: float = float("-inf")
    _spans_dropped: int = 0  # 已计入指标的
    _unconfirmed: int = 0  # 同上
    _refused: dict[str, int] = field(default_factory=dict)  # 同上，按键
    _metrics: ProcessMetrics = field(init=False)

    def __post_init__(self) -> None:
        self._metrics = ProcessMetrics(self.registry)

    async def run(self, stop: asyncio.Event) -> None:
        """采样到 ``stop``。"""
        while not stop.is_set():
            self._metrics.loop_lag.set(await worst_lag(stop))
            self.run_once()

    def run_once(self) -> int:
        """采一次；返回这次写了几次日志。"""
        now = asyncio.get_running_loop().time()
        self._publish_pools()
        self._count_dropped_spans()
        done = 0
        if now - self._pools_logged_at >= self.pool_interval:
            self._pools_logged_at = now
            self._log_pools()
            done += 1
        return done

    def _publish_pools(self) -> None:
        database_figures(self.pool).publish(self._metrics.database_pool)
        unconfirmed = unconfirmed_commits(self.pool)
        self._metrics.commits_unconfirmed.inc(unconfirmed - self._unconfirmed)
        self._unconfirmed = unconfirmed
        if self.redis is not None:
            redis_figures(self.redis).publish(self._metrics.redis_pool)
            for key, count in refused_values(self.redis).items():
                self._metrics.redis_refused.labels(key).inc(count - self._refused.get(key, 0))
                self._refused[key] = count

    def _count_dropped_spans(self) -> None:
        dropped = self.dropped()
        self._metrics.spans_dropped.inc(dropped - self._spans_dropped)
        self._spans_dropped = dropped

    def _log_pools(self) -> None:
        redis = {} if self.redis is None else asdict(redis_figures(self.redis))
        log.info("连接池", database=asdict(database_figures(self.pool)), redis=redis)


async def worst_lag(stop: asyncio.Event) -> float:
    """一个 :data:`TICK` 之内，定时器最多晚到多久（秒）；``stop`` 一来就提前返回。"""
    loop = asyncio.get_running_loop()
    step, worst = TICK / PROBES, 0.0
    for _ in range(PROBES):
        due = loop.time() + step
        if await happens(stop, step):
            break
        worst = max(worst, loop.time() - due)
    return worst
