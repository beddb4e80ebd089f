"""总览：整条流水线的此刻；每个进程在哪台、多久没有心跳、占着几个槽位；折线由服务端画，没有脚本也看得见。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from api.console.concerns import lines_of
from api.console.console_request import ConsoleRequest
from api.console.snapshots import BACKFILL_CAP, BUCKET_CAP, BUCKETS, SNAPSHOTS, STEP, Snapshot
from api.console.tasks import MAX_SEARCH
from kaguan.outbox.vocabulary import NOTE_LENGTH, Priority, TaskEventKind
from kaguan.outbox.work.leases import BEATS_PER_LEASE
from kaguan.presence.census import Process
from kaguan.verdict import queries
from kaguan.verdict.judging import QUIET
from kaguan.verdict.observation import Broker, Ledger
from kaguan.verdict.queries import Fault, Held

LATE_BEATS = 2  # 租约是续租间隔的三倍；晚了两拍就提醒
WIDTH, HEIGHT = 240.0, 48.0  # 折线的坐标系
PADDING = 2.0
# 任务的 last_error 里也有它的原因
ON_THE_TASK = {TaskEventKind.ATTEMPT_FAILED, TaskEventKind.UNCERTAIN}


async def overview(console: ConsoleRequest) -> web.Response:
    return console.render("overview.html", **await _context(console))


async def live_overview(console: ConsoleRequest) -> web.Response:
    return console.render("overview_live.html", **await _context(console))


async def _context(console: ConsoleRequest) -> dict[str, Any]:
    snapshot, verdict = await console.request.app[SNAPSHOTS].look()
    concerns = lines_of(verdict, console.language, console.formatter)
    told: dict[str, Any] = {"s": snapshot, "verdict": verdict, "concerns": concerns}
    if snapshot is None:
        return told
    ledger = snapshot.ledger
    return told | {
        "queues": list(Priority),
        "cap": queries.COUNT_CAP,
        "workers": worker_lines(ledger, snapshot.broker, console.services.settings.worker.lease),
        "drains": {one.worker: one for one in snapshot.drains},
        "note_length": NOTE_LENGTH,
        "processes": process_lines(snapshot.broker),
        "waiting": sum(line.waiting for line in ledger.backlog.values()),
        "oldest": max((line.oldest_due_seconds or 0.0 for line in ledger.backlog.values()), default=0.0),
        "charts": _charts(snapshot),
        "fault_link": fault_link,
        "scanned": queries.FAULT_SCAN,
        "window": int(BUCKETS * STEP // 60),
    }


def fault_link(fault: Fault) -> str:
    """这一种例外的任务：原因写在任务上的，连原因一起找。"""
    query = {"type": fault.type or ""}
    if fault.kind in ON_THE_TASK and (why := fault.detail.get("code") or fault.detail.get("reason")):
        query["error"] = str(why)[:MAX_SEARCH]
    return f"/console/tasks?{urlencode(query)}"


def _charts(snapshot: Snapshot) -> dict[str, Any]:
    """三条折线各有各的纵轴（旁边写着峰值）：一次受理的尖峰不该把慢慢做完的压成平线。"""
    series = {
        "accepted": [bucket.accepted / STEP for bucket in snapshot.trend],
        "succeeded": [bucket.succeeded / STEP for bucket in snapshot.trend],
        "failed": [bucket.failed / STEP for bucket in snapshot.trend],
    }
    last = snapshot.trend[-1] if snapshot.trend else None
    return {
        "lines": {name: sparkline(values, max([*values, 1.0])) for name, values in series.items()},
        "peaks": {name: max(values, default=0.0) for name, values in series.items()},
        "rates": {name: values[-1] if values else 0.0 for name, values in series.items()},
        "capped": last is not None and max(last.accepted, last.succeeded + last.failed) in {BACKFILL_CAP, BUCKET_CAP},
    }


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

    @property
    def busy(self) -> int | None:
        return None if self.process is None else sum(self.process.busy.values())


@dataclass(frozen=True, slots=True)
class ProcessLine:
    process: Process
    uptime: float
    silent: bool


def worker_lines(ledger: Ledger, broker: Broker | None, lease: float) -> list[WorkerLine]:
    """按名字归并心跳与租约；最近一次续租由租约的到期时刻倒推（每次把它续到 ``lease`` 秒之后）。"""
    by_worker: dict[str, list[Held]] = {}
    for item in ledger.held:
        by_worker.setdefault(item.worker, []).append(item)
    processes = {} if broker is None else {process.name: process for process in broker.census.of("worker")}
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


def process_lines(broker: Broker | None) -> list[ProcessLine]:
    """有心跳的进程；``uptime`` 按 Redis 的钟。"""
    if broker is None:
        return []
    now = broker.census.now
    lines = [
        ProcessLine(process, (now - process.started_at).total_seconds(), process.quiet > QUIET)
        for process in broker.census.processes
    ]
    return sorted(lines, key=lambda line: (line.process.role, line.process.host, line.process.started_at))


@dataclass(frozen=True, slots=True)
class Sparkline:
    """``line`` 是折线，``area`` 是线下的面积；坐标系 240 × 48。"""

    line: str
    area: str
    top: float


def sparkline(values: Sequence[float], top: float | None = None) -> Sparkline:
    """从左到右的一串值；``top`` 是纵轴的上端，不给就取最大值。"""
    ceiling = max(top if top is not None else max(values, default=0.0), 1e-9)
    if not values:
        return Sparkline("", "", 0.0)
    step = (WIDTH - 2 * PADDING) / max(1, len(values) - 1)
    usable = HEIGHT - 2 * PADDING
    points = [
        (PADDING + index * step, HEIGHT - PADDING - min(value, ceiling) / ceiling * usable)
        for index, value in enumerate(values)
    ]
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    area = f"{line}L{points[-1][0]:.1f} {HEIGHT:.0f}L{points[0][0]:.1f} {HEIGHT:.0f}Z"
    return Sparkline(line, area, ceiling)
