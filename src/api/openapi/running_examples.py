"""文档里的例子：此刻在跑的、在等的。"""

from __future__ import annotations

from typing import Any

from api.openapi.examples import AT, TASK_ID
from kaguan.mail.task import EMAIL_SEND
from kaguan.sims.tasks import SIM_STATUS_SYNC

WORKER = "host-1-4711-5ad3c0de"
HOLDERS: dict[str, Any] = {
    "slots": {"total": 20, "held": 20},
    "running": 20,
    "capped": False,
    "held_types": [
        {"name": SIM_STATUS_SYNC.name, "count": 20, "longest_seconds": 83.2, "waits": {"control_center": 19}},
    ],
    "held_callers": [{"name": "importer", "count": 20, "longest_seconds": 83.2, "waits": {}}],
    "held_workers": [
        {
            "name": WORKER,
            "count": 20,
            "longest_seconds": 83.2,
            "busy": 20,
            "slots": 20,
            "version": "0.3.0",
            "host": "host-1",
            "pid": 4711,
        },
    ],
    "longest": [
        {
            "task_id": TASK_ID,
            "type": SIM_STATUS_SYNC.name,
            "caller": "importer",
            "worker": WORKER,
            "since": AT,
            "seconds": 83.2,
            "progress": {"done": 400, "total": 1000},
        },
    ],
    "waiting": 18_723,
    "estimated": True,
    "waiting_queues": [{"name": "default", "count": 18_723, "per_second": 22.7, "seconds_left": 825}],
    "waiting_types": [{"name": EMAIL_SEND.name, "count": 18_723, "per_second": 22.7, "seconds_left": 825}],
    "waiting_callers": [{"name": "importer", "count": 18_723, "per_second": None, "seconds_left": None}],
    "waiting_keys": [{"key": "card:7", "caller": "importer", "task_id": TASK_ID, "behind": 12}],
}

DRAIN_IN = {"reason": "内存一直在涨"}
DRAIN: dict[str, Any] = {"worker": WORKER, "reason": "内存一直在涨", "actor": "ops", "created_at": AT}
WORKERS: dict[str, Any] = {
    "items": [
        {
            "name": WORKER,
            "held": 20,
            "oldest_started_at": AT,
            "slots": 20,
            "version": "0.3.0",
            "host": "host-1",
            "pid": 4711,
            "started_at": AT,
            "quiet_seconds": 1.2,
            "drain": DRAIN,
        },
    ],
    "page_size": 100,
    "next_cursor": None,
}

STACK: dict[str, Any] = {
    "task_id": TASK_ID,
    "type": SIM_STATUS_SYNC.name,
    "worker": WORKER,
    "since": AT,
    "progress": {"done": 400, "total": 1000},
    "version": "0.3.0",
    "host": "host-1",
    "pid": 4711,
    "note": None,
    "frames": [
        {
            "file": "workers/sim/handler.py",
            "line": 61,
            "function": "SimStatusHandler.__call__",
            "source": "async with attempt.transaction() as connection:",
        },
    ],
    "sessions": [
        {
            "pid": 271,
            "application": "kaguan-worker",
            "role": "kaguan_app",
            "state": "active",
            "seconds": 4.2,
            "snapshot": None,
            "waits": "Lock transactionid",
            "blocked_by": [342],
            "statement": "update tb_sim set …",
        },
    ],
}
STATS: dict[str, Any] = {
    "types": [
        {
            "type": EMAIL_SEND.name,
            "sample": 1000,
            "waited": {"p50": 0.021, "p95": 0.35, "p99": 2.1},
            "ran": {"p50": 0.18, "p95": 0.9, "p99": 4.2},
            "arriving": 20.1,
            "departing": 19.8,
        },
    ],
    "turnover": [
        {"type": EMAIL_SEND.name, "queue": "default", "arrived": 7_231, "departed": 7_195, "seconds": 3600.0},
    ],
    "queues": [{"name": "default", "busy": 7, "slots": 12}],
    "workers": [{"name": WORKER, "busy": 9, "slots": 20}],
    "releases": [{"role": "worker", "version": "0.3.0", "processes": 2, "since": AT}],
}

HISTORY: dict[str, Any] = {
    "items": [
        {
            "id": 7,
            "code": "backlog",
            "subject": "default",
            "level": "bad",
            "text": "队列 default 里最老的等了 2 min 5 s",
            "parameters": {"queue": "default", "seconds": 125, "count": 812, "rate": 6.5, "eta": 125},
            "since": AT,
            "first_seen": AT,
            "last_seen": AT,
            "ended_at": AT,
            "seconds": 0.0,
        },
    ],
    "page_size": 20,
    "next_cursor": None,
}

ACKNOWLEDGEMENT_IN: dict[str, Any] = {"code": "uncertain", "reason": "已在问邮局", "seconds": 7_200}
ACKNOWLEDGEMENT: dict[str, Any] = {
    "id": TASK_ID,
    "code": "uncertain",
    "subject": "",
    "level": "warn",
    "most": 1,
    "reason": "已在问邮局",
    "actor": "ops",
    "created_at": AT,
    "until": AT,
}
ACKNOWLEDGEMENTS: dict[str, Any] = {"items": [ACKNOWLEDGEMENT], "page_size": 100, "next_cursor": None}
