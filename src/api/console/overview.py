"""总览：整条流水线的此刻。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.console.charts import sparkline
from api.console.concerns import lines_of
from api.console.keys import SNAPSHOTS
from api.console.people import process_lines, worker_lines
from api.console.snapshots import BACKFILL_CAP, BUCKET_CAP, BUCKETS, STEP
from kaguan.outbox.vocabulary import Priority
from kaguan.overview import queries

if TYPE_CHECKING:
    from aiohttp import web

    from api.console.snapshots import Snapshot
    from api.console.visit import Visit


async def overview(visit: Visit) -> web.Response:
    return visit.render("overview.html", **await _context(visit))


async def live_overview(visit: Visit) -> web.Response:
    return visit.render("overview_live.html", **await _context(visit))


async def _context(visit: Visit) -> dict[str, Any]:
    snapshot = await visit.request.app[SNAPSHOTS].look()
    ledger = snapshot.ledger
    return {
        "s": snapshot,
        "queues": list(Priority),
        "cap": queries.COUNT_CAP,
        "concerns": lines_of(snapshot.verdict, visit.language),
        "workers": worker_lines(ledger, snapshot.lane, visit.services.settings.worker.lease),
        "processes": process_lines(snapshot.lane),
        "waiting": sum(line.waiting for line in ledger.backlog.values()),
        "oldest": max((line.oldest_due_seconds or 0.0 for line in ledger.backlog.values()), default=0.0),
        "charts": _charts(snapshot),
        "window": int(BUCKETS * STEP // 60),
    }


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
