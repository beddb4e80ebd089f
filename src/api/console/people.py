"""总览上的进程：每个 worker 的槽位与租约，每个进程在哪台、多久没有心跳、死过几次。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaguan.outbox.worker.leases import BEATS_PER_LEASE
from kaguan.verdict.judging import QUIET

if TYPE_CHECKING:
    from datetime import datetime

    from kaguan.presence.census import Process
    from kaguan.verdict.observation import Lane, Ledger
    from kaguan.verdict.queries import Held

LATE_BEATS = 2  # 租约是续租间隔的三倍；晚了两拍就提醒


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """一个 worker，闲着的也在；``process`` 为 None 即只在租约里见过它（Redis 不在）。"""

    name: str
    process: Process | None
    held: int
    oldest_started_at: datetime | None
    renewed_seconds: float | None
    late: bool

    @property
    def slots(self) -> int | None:
        return None if self.process is None else sum(self.process.slots.values())


@dataclass(frozen=True, slots=True)
class ProcessLine:
    process: Process
    uptime: float
    silent: bool


def worker_lines(ledger: Ledger, lane: Lane | None, lease: float) -> list[WorkerLine]:
    """按名字归并心跳与租约；最近一次续租由租约的到期时刻倒推（每次把它续到 ``lease`` 秒之后）。"""
    by_worker: dict[str, list[Held]] = {}
    for item in ledger.held:
        by_worker.setdefault(item.worker, []).append(item)
    processes = {} if lane is None else {process.name: process for process in lane.census.of("worker")}
    lines = []
    for name in {*by_worker, *processes}:
        items = by_worker.get(name, [])
        process = processes.get(name)
        renewed = None
        if items:
            left = (max(item.lease_until for item in items) - ledger.totals.now).total_seconds()
            renewed = max(0.0, lease - left)
        late = renewed is not None and renewed > lease / BEATS_PER_LEASE * LATE_BEATS
        late = late or (process is not None and process.quiet > QUIET)
        oldest = min((item.oldest_started_at for item in items), default=None)
        lines.append(WorkerLine(name, process, sum(item.held for item in items), oldest, renewed, late))
    return sorted(lines, key=lambda line: line.name)


def process_lines(lane: Lane | None) -> list[ProcessLine]:
    """有心跳的进程；``uptime`` 按 Redis 的钟。"""
    if lane is None:
        return []
    now = lane.census.now
    lines = [
        ProcessLine(process, (now - process.started_at).total_seconds(), process.quiet > QUIET)
        for process in lane.census.processes
    ]
    return sorted(lines, key=lambda line: (line.process.role, line.process.host, line.process.started_at))
