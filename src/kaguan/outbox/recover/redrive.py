"""重投：租约已失的、Redis 忘了的、发件箱里漏了的，都要回来。绝不靠 SAQ 自己的 sweep。"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from kaguan.config.model import Relay
from kaguan.database.pool import Pool
from kaguan.outbox.deliver import in_redis
from kaguan.outbox.deliver.deliveries import KaguanQueue
from kaguan.outbox.deliver.in_redis import Handed
from kaguan.outbox.deliver.scan_throttle import ScanThrottle, ThrottledScan
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.naming import named
from kaguan.outbox.order import ordering
from kaguan.outbox.recover import store
from kaguan.outbox.recover.store import EVER, Expired, Judged, Seen
from kaguan.outbox.spans import lost_span
from kaguan.outbox.vocabulary import FIRST_ID, START, Priority, TaskEventKind, TaskStatus
from kaguan.words.log import get_logger

log = get_logger(__name__)

PAGE = 1_000
TAKEN_PATIENCE = 10.0  # 秒
TAKEN_MEMORY = 120.0  # 秒：这么久不再见到的不必记着
OVERLAP = 5.0  # 秒：比上一遍看到的再早这么久
HANDED_BACK = -1.0  # 秒：一刻也不往回看，只收主动交还的
ORPHAN_PAGE = 5_000  # 做完的也走过：二十毫秒一页，百万行一刻钟看一圈


@dataclass(slots=True)
class LeaseRedrive:
    """租约已失的运行中任务。

    Attributes:
        redelivered: 结局不明也重新投递的任务类型 → 时间线上记作什么。
        grace: 给持有者续租的秒数：PostgreSQL 启动之后；库、本机或 relay 停顿之后（上一眼比这还早）。
            停得比租约还久，活着的执行者不算失联。
    """

    pool: Pool
    config: Relay
    redelivered: Mapping[str, TaskEventKind]
    metrics: Metrics
    grace: float = 0.0
    throttle: ScanThrottle = field(default_factory=ScanThrottle)
    _seen: float = -math.inf  # 本机的单调钟：在这之前到期的都看过了
    _looked: datetime | None = None  # 上一眼，PostgreSQL 的钟：库、本机、relay 谁停顿过，离它都远
    _ended: float = -math.inf  # 上一眼看完，本机的单调钟
    _sparing: float | None = None  # 停顿之后只收交还的，到这时（单调钟）为止；看过一眼真的才会再有

    async def run_once(self) -> int:
        """收回一页。只看上一遍之后到期的与主动交还的；上一遍被锁着而跳过的，等从头看的那一遍。"""
        began = time.monotonic()
        spared = self._sparing is not None
        sparing = self._sparing is not None and began < self._sparing
        # 等过了就真看一眼：一眼比一眼慢的，也不会永远只是等
        looked = None if spared and not sparing and began - self._ended > self.grace else self._looked
        async with self.pool.connection() as connection, ThrottledScan(self.throttle, connection) as thorough:
            now, expired = await store.redrive_expired(
                connection,
                redelivered=self.redelivered,
                max_lost=self.config.max_deliveries_without_result,
                grace=self.grace,
                looked=looked,
                reach=HANDED_BACK if sparing else EVER if thorough else min(EVER, began - self._seen + OVERLAP),
                limit=PAGE,
            )
        stood = 0.0 if looked is None else (now - looked).total_seconds()
        self._looked, self._ended = now, time.monotonic()
        if 0 < self.grace < stood and not sparing:
            self._sparing = self._ended + self.grace
            log.warning("停顿过，先等持有者续租", seconds=round(stood, 1), grace=self.grace)
        elif not sparing:
            self._sparing = None
            if len(expired) < PAGE:
                self._seen = began
        for cause in ("worker_stopped", "lease_expired"):
            self._record(cause, [task for task in expired if task.released == (cause == "worker_stopped")])
        ended = [task.id for task in expired if task.verdict != TaskStatus.PENDING]
        if ended:
            async with self.pool.connection() as connection:
                await ordering.release(connection, ended)
        return len(expired)

    def _record(self, cause: str, expired: list[Expired]) -> None:
        """回到待交付的算重投；就此有了结局的算结算，与 worker 自己结算的同一个计数。"""
        if cause == "lease_expired":
            self.metrics.leases_lost.inc(len(expired))
            for task in expired:
                lost_span(task.type, task.id, task.queue, task.traceparent, task.started_at)
        moved = [task for task in expired if task.verdict == TaskStatus.PENDING]
        if moved:
            log.warning("收回任务，重投", cause=cause, count=len(moved), **names_of(moved))
            self.metrics.redriven.labels(cause=cause).inc(len(moved))
        for task in expired:
            if task.verdict != TaskStatus.PENDING:
                self._verdict_on(cause, task)

    def _verdict_on(self, cause: str, task: Expired) -> None:
        log.warning("收回任务，就此了结", cause=cause, status=task.verdict, task_type=task.type, **names_of([task]))
        self.metrics.settled.labels(task.type, task.queue, task.verdict).inc()
        if task.verdict == TaskStatus.UNCERTAIN:
            self.metrics.uncertain.labels(task.type).inc()


@dataclass(slots=True)
class PresenceRedrive:
    """核对已交出的任务是否还在 SAQ 里；一次看一页，一圈圈地看。

    Attributes:
        patience: 取走与认领之间总有一小会儿；过了这么多秒还没有认领，就当取件者死了。
    """

    pool: Pool
    queues: Mapping[Priority, KaguanQueue]
    config: Relay
    metrics: Metrics
    patience: float = TAKEN_PATIENCE
    throttle: ScanThrottle = field(default_factory=ScanThrottle)
    _oldest: float = -math.inf  # 本机的单调钟：在这之前交出的都有了着落
    _after: tuple[datetime, UUID] = field(default=START)
    _taken: dict[tuple[UUID, int], float] = field(default_factory=dict)  # 取走而没有认领的 → 何时第一次看见

    async def run_once(self) -> int:
        """看一页；返回 1 表示还有下一页，0 表示看完一圈。"""
        began = time.monotonic()
        first = self._after == START
        async with (
            self.pool.connection() as connection,
            ThrottledScan(self.throttle, connection) if first else nullcontext(enter_result=False) as thorough,
        ):
            reach = EVER if thorough else min(EVER, began - self._oldest + OVERLAP)
            seen = Seen(self.config.presence_age, self.config.backstop_age, self._after, PAGE, reach)
            page = await store.handed(connection, seen)
        if first:
            self._oldest = began - (page[0].age if page else self.config.presence_age)
        if not page:
            self._after = START
            return 0
        missing = await self._missing(page)
        if missing:
            async with self.pool.connection() as connection:
                count = await store.redrive(connection, [(task.id, task.delivery) for task in missing], "queue_forgot")
            log.warning("队列忘了任务，重投", count=count, **names_of(missing))
            self.metrics.redriven.labels(cause="queue_forgot").inc(count)
        full = len(page) == PAGE
        self._after = (page[-1].queued_at, page[-1].id) if full else START
        return int(full)

    async def _missing(self, page: list[Handed]) -> list[Handed]:
        """不在未完成集里的；取走很久仍没有认领的（取件者死在半途，或应答丢在路上）；逾期而哪个列表里都没有的。"""
        missing, here = await in_redis.split_known(self.queues, page)
        if not here:
            return missing
        active = await in_redis.taken(self.queues, {Priority(task.queue) for task in here})
        taken = [task for task in here if self._job_id(task) in active[Priority(task.queue)]]
        overdue = [task for task in here if task.overdue and self._job_id(task) not in active[Priority(task.queue)]]
        if overdue:
            waiting = await in_redis.waiting(self.queues, {Priority(task.queue) for task in overdue})
            taken += [task for task in overdue if self._job_id(task) not in waiting[Priority(task.queue)]]
        return missing + self._long_taken(taken)

    def _long_taken(self, taken: list[Handed]) -> list[Handed]:
        """头一次看见时记下时刻，过了 ``patience`` 还是这样，才不再等它。"""
        now = time.monotonic()
        self._taken = {token: at for token, at in self._taken.items() if now - at < TAKEN_MEMORY}
        first_seen = self._taken.setdefault
        return [task for task in taken if now - first_seen((task.id, task.delivery), now) >= self.patience]

    def _job_id(self, task: Handed) -> bytes:
        return self.queues[Priority(task.queue)].job_id(in_redis.key_of(task)).encode()


@dataclass(slots=True)
class OrphanRedrive:
    """兜底：在等待、却没有发件箱行的任务。"""

    pool: Pool
    config: Relay
    metrics: Metrics
    throttle: ScanThrottle = field(default_factory=ScanThrottle)
    _after: UUID = FIRST_ID

    async def run_once(self) -> int:
        first = self._after == FIRST_ID
        if first and not self.throttle.is_due:
            return 0
        async with (
            self.pool.connection() as connection,
            ThrottledScan(self.throttle, connection) if first else nullcontext(),
        ):
            last, moved = await store.redrive_orphans(
                connection, after=self._after, age=self.config.presence_age, limit=ORPHAN_PAGE
            )
        if moved:
            log.warning("补上缺失的发件箱行", count=len(moved), **named(*zip(*moved, strict=True)))
            self.metrics.redriven.labels(cause="no_outbox_row").inc(len(moved))
        self._after = last or FIRST_ID
        return len(moved)


def names_of(tasks: Sequence[Judged | Handed]) -> dict[str, Any]:
    """日志里说的是哪几个任务。"""
    return named([task.id for task in tasks], [task.traceparent for task in tasks], [task.request_id for task in tasks])
