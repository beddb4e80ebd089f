"""总览：整条流水线的此刻。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.console.charts import sparkline
from api.console.keys import LOOKOUT
from api.console.lookout import BACKFILL_CAP, BUCKET_CAP, BUCKETS, STEP
from kaguan.console import looking
from kaguan.tasks.model import Priority

if TYPE_CHECKING:
    from datetime import datetime

    from aiohttp import web

    from api.console.lookout import Snapshot
    from api.console.visit import Visit

GRACE = 5.0  # 秒：到期的行等这么久，就不是还没轮到
STALE = 30.0  # 秒：最老的到期行等了这么久就提醒
LATE_BEATS = 2  # 租约是心跳间隔的三倍；晚了两拍就提醒
BEATS_PER_LEASE = 3


@dataclass(frozen=True, slots=True)
class Concern:
    """要人留意的一件事；``level``：bad 或 warn。"""

    key: str
    level: str
    link: str
    values: dict[str, object]


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """一个 worker：手里的租约按队列，和最近一次心跳。"""

    name: str
    held: dict[str, int]
    total: int
    oldest_started_at: datetime
    beat_seconds: float
    late: bool


async def overview(visit: Visit) -> web.Response:
    return visit.render("overview.html", **await _context(visit))


async def live_overview(visit: Visit) -> web.Response:
    return visit.render("overview_live.html", **await _context(visit))


async def _context(visit: Visit) -> dict[str, Any]:
    snapshot = await visit.request.app[LOOKOUT].look()
    concerns = concerns_in(snapshot)
    return {
        "s": snapshot,
        "queues": list(Priority),
        "cap": looking.COUNT_CAP,
        "concerns": concerns,
        "verdict": "bad" if any(c.level == "bad" for c in concerns) else "warn" if concerns else "ok",
        "workers": worker_lines(snapshot, visit.services.settings.worker.lease),
        "waiting": sum(line.waiting for line in snapshot.backlog.values()),
        "oldest": max((line.oldest_due_seconds or 0.0 for line in snapshot.backlog.values()), default=0.0),
        "charts": _charts(snapshot),
        "window": int(BUCKETS * STEP // 60),
    }


def concerns_in(snapshot: Snapshot) -> list[Concern]:
    """从重到轻。没有 relay 或 worker 连着：有活在等才是坏事，否则只是提醒（中间有连接池的也可能看不见）。"""
    oldest = max((line.oldest_due_seconds or 0.0 for line in snapshot.backlog.values()), default=0.0)
    found = []
    if snapshot.depths is None:
        found.append(Concern("redis", "bad", "/health", {}))
    for name, stuck in (("relay", oldest > GRACE), ("worker", snapshot.totals.queued > 0)):
        if not snapshot.connected(name):
            found.append(Concern(name, "bad" if stuck else "warn", "#processes", {}))
    if oldest > STALE:
        found.append(Concern("stale", "bad", "/console/outbox", {"seconds": round(oldest)}))
    expired = sum(item.expired for item in snapshot.held)
    if expired:
        found.append(Concern("expired", "warn", "#workers", {"count": expired}))
    if snapshot.totals.uncertain:
        found.append(Concern("uncertain", "warn", "/console/dead-letters", {"count": snapshot.totals.uncertain}))
    if snapshot.parked:
        found.append(Concern("parked", "warn", "/console/outbox#parked", {"count": snapshot.parked}))
    return found


def worker_lines(snapshot: Snapshot, lease: float) -> list[WorkerLine]:
    """按 worker 归并；心跳由租约的到期时刻倒推（每拍把它续到 ``lease`` 秒之后）。"""
    by_worker: dict[str, list[looking.Held]] = {}
    for item in snapshot.held:
        by_worker.setdefault(item.worker, []).append(item)
    lines = []
    for name, items in by_worker.items():
        left = (max(item.lease_until for item in items) - snapshot.totals.now).total_seconds()
        beat = max(0.0, lease - left)
        held = {item.queue: item.held for item in items}
        oldest = min(item.oldest_started_at for item in items)
        late = beat > lease / BEATS_PER_LEASE * LATE_BEATS
        lines.append(WorkerLine(name, held, sum(held.values()), oldest, beat, late))
    return sorted(lines, key=lambda line: line.name)


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
