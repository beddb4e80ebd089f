"""总览：整条流水线的此刻。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.console.charts import sparkline
from api.console.concerns import lines_of
from api.console.people import process_lines, worker_lines
from api.console.snapshots import BACKFILL_CAP, BUCKET_CAP, BUCKETS, SNAPSHOTS, STEP
from kaguan.outbox.vocabulary import Priority
from kaguan.verdict import queries

if TYPE_CHECKING:
    from aiohttp import web

    from api.console.console_request import ConsoleRequest
    from api.console.snapshots import Snapshot


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
        "workers": worker_lines(ledger, snapshot.lane, console.services.settings.worker.lease),
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
