"""relay：转交、重投、放行、定时、保留期、积压的采样，各是一个循环。产品的进程、测试与模拟都由这里装配。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from redis.asyncio import Redis

from kaguan.config.model import Relay as RelayConfig
from kaguan.config.model import Tasks, Worker
from kaguan.config.schedules import Schedule
from kaguan.database.pool import Pool
from kaguan.flow.background import in_background
from kaguan.outbox.accept.doorbell import listen
from kaguan.outbox.deliver.aside import PATIENCE, UnknownSince
from kaguan.outbox.deliver.deliveries import Line, build_queues
from kaguan.outbox.deliver.forward import Forwarder
from kaguan.outbox.deliver.pausing import BATCH, Releasing
from kaguan.outbox.deliver.scan_throttle import THRIFT, ScanThrottle
from kaguan.outbox.loop import run
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.operate.backlog import BacklogGauges
from kaguan.outbox.operate.retention import Expiry, Retention
from kaguan.outbox.order.release import OrderingRelease
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.recover.epoch import EpochRedrive
from kaguan.outbox.recover.history import HistoryCheck
from kaguan.outbox.recover.leftovers import Leftovers
from kaguan.outbox.recover.redrive import TAKEN_PATIENCE, LeaseRedrive, OrphanRedrive, PresenceRedrive
from kaguan.outbox.recover.vanished import Vanishing
from kaguan.outbox.schedule.service import Schedules
from kaguan.outbox.task_type import TaskType, TaskTypes


@dataclass(frozen=True, slots=True)
class Timing:
    """不必配置的节拍与耐心，单位秒；测试改的也是这里。"""

    retention: float = 60.0
    orphan: float = 5.0
    leftovers: float = 10.0
    ordering: float = 5.0
    schedules: float = 5.0
    backlog: float = 10.0
    pauses: float = 5.0
    unknown_patience: float = PATIENCE  # 不认得的类型等升级过的 relay 这么久
    taken_patience: float = TAKEN_PATIENCE  # 取走而没有认领的等这么久
    hold: float = 0.1  # 交出之后等下一声门铃，好并成一次提交
    thrift: float = THRIFT  # 从头看一遍之后，歇它所花时间的这么多倍（至少一秒），其间只看近处；0 = 遍遍从头


@dataclass(frozen=True, slots=True)
class Loop:
    run_once: Callable[[], Awaitable[int]]
    interval: float | Callable[[], float]  # 秒；没活时；随状况而变的给函数
    full: int = 1  # 做满这么多才马上再来


class Relay:
    """一个 relay 进程的全部零件。

    Args:
        pool: PostgreSQL。
        redis: SAQ 的队列所在。
        types: 认得的任务类型；结局不明怎么办已定下。
        config: 批量、节拍、水位。
        tasks: 次数与保留期。
        worker: 任务时限（SAQ 的时限随它）与租约（PostgreSQL 重启之后给持有者续租的时间）。
        metrics: 指标；不给就自成一份。
        schedules: 定时计划，已查过（:func:`kaguan.outbox.schedule.checking.check`）。
        expiries: 协议之外也归保留期管的。
        timing: 不必配置的节拍。
        others: 应用自己的循环；补进发件箱的，转交立刻知道。

    Attributes:
        forwarder: 转交；与下面几个一样，不跑循环也可以一步步驱动。
        lease: 收回租约已失的。
        presence: 核对已交出的。
        epoch: 比对纪元。
        orphan: 补上漏了的发件箱行。
        leftovers: 清掉 worker 死后留在 Redis 里的。
        heard: 门铃响过，或别的循环补进了发件箱。
        loops: 全部循环，按名字；``run`` 之前可以增减。
        facts: 给进程名片的：眼下搁着的、不认得的类型。
    """

    def __init__(  # noqa: PLR0913 装配的地方，各是一个零件
        self,
        pool: Pool,
        redis: Redis,
        types: Iterable[TaskType[Any]],
        config: RelayConfig | None = None,
        tasks: Tasks | None = None,
        worker: Worker | None = None,
        *,
        metrics: Metrics | None = None,
        schedules: Sequence[Schedule] = (),
        expiries: Mapping[str, Expiry] | None = None,
        timing: Timing | None = None,
        others: Mapping[str, Loop] | None = None,
    ) -> None:
        known = TaskTypes(types)
        config, tasks, worker = config or RelayConfig(), tasks or Tasks(), worker or Worker()
        metrics, timing = metrics or Metrics(known), timing or Timing()
        queues = build_queues(redis)
        self.heard = asyncio.Event()
        self._redis = redis
        self._backoff_max = config.backoff_max
        self.forwarder = Forwarder(
            pool=pool,
            queues=queues,
            config=config,
            task_timeout=known.longest(worker.task_timeout),
            metrics=metrics,
            types=known,
            unknown=UnknownSince(timing.unknown_patience),
            heard=self.heard,
            hold=timing.hold,
            line=Line(timing.thrift),
        )
        self.lease = LeaseRedrive(pool, config, known.redelivered, metrics, worker.lease, ScanThrottle(timing.thrift))
        self.presence = PresenceRedrive(
            pool, queues, config, metrics, timing.taken_patience, ScanThrottle(timing.thrift)
        )
        calls = Calls(redis, tasks)
        vanishing = Vanishing(pool, tasks.retention_days)
        histories = HistoryCheck(
            pool=pool,
            redis=redis,
            calls=calls,
            types=known,
            metrics=metrics,
            vanishing=vanishing,
            heard=self.heard,
            lag=config.poll_interval,
        )
        self.epoch = EpochRedrive(pool, redis, queues, metrics, histories, self.heard)
        self.orphan = OrphanRedrive(pool, config, metrics, ScanThrottle(timing.thrift))
        self.leftovers = Leftovers(pool, redis, queues, known, vanishing, metrics)
        scheduling = Schedules(pool, schedules, known, tasks.max_attempts, metrics)
        retention = Retention(pool, tasks, known.rows, expiries or {}, period=timing.retention)
        self.loops: dict[str, Loop] = {
            "forward": Loop(self.forwarder.run_once, self.forwarder.interval, config.batch_size),
            "lease": Loop(self.lease.run_once, config.lease_scan_interval),
            "presence": Loop(self.presence.run_once, config.presence_interval),
            "epoch": Loop(self.epoch.run_once, config.poll_interval),
            "ordering": Loop(OrderingRelease(pool).run_once, timing.ordering),
            "leftovers": Loop(self.leftovers.run_once, timing.leftovers),
            "orphan": Loop(self.orphan.run_once, timing.orphan),
            "schedules": Loop(scheduling.run_once, timing.schedules),
            "retention": Loop(retention.run_once, retention.interval, sys.maxsize),
            "pauses": Loop(Releasing(pool, metrics).run_once, timing.pauses, BATCH),
            "backlog": Loop(BacklogGauges(pool, metrics, known).run_once, timing.backlog),
            **(others or {}),
        }
        self.facts = self.forwarder.facts

    async def run(self, stop: asyncio.Event) -> None:
        """听着门铃，各循环并行，直到 ``stop``。"""
        async with in_background(listen(self._redis, self.heard.set), "listener"):
            await self.turn(stop)

    async def turn(self, stop: asyncio.Event) -> None:
        """各循环并行，直到 ``stop``；不听门铃，置位 ``heard`` 的是别人。"""
        looping = partial(run, backoff_max=self._backoff_max, stop=stop)
        async with asyncio.TaskGroup() as group:
            for name, loop in self.loops.items():
                # 转交之外的循环补进发件箱的，转交立刻知道，不等轮询
                forwards = name == "forward"
                group.create_task(
                    looping(
                        name,
                        loop.run_once,
                        interval=loop.interval,
                        full=loop.full,
                        wake=self.heard if forwards else None,
                        rouse=None if forwards else self.heard,
                    ),
                    name=name,
                )
