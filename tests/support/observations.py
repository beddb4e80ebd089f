"""判断的所见，按需拼一份：没说到的都风平浪静。"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from kaguan.breakers.board import OpenBreaker
from kaguan.outbox.operate.backlog import QueueBacklog
from kaguan.outbox.operate.limits import Limit
from kaguan.outbox.operate.pauses import Pause
from kaguan.outbox.vocabulary import LimitScope, PauseScope, Priority
from kaguan.presence.census import Census, Process, succeed
from kaguan.verdict.locks import Lock
from kaguan.verdict.observation import Blocked, Broker, Flow, Ledger, Observation, Queued
from kaguan.verdict.queries import ConnectedProcess, Held, Totals

NOW = datetime(2026, 3, 1, 8, 0, 0, tzinfo=UTC)
SLOTS = {"critical": 12, "default": 6, "low": 2}


PAUSE = Pause(
    UUID(int=9),
    PauseScope.TYPE,
    "email:send",
    "relay host moves",
    "ann",
    NOW - timedelta(hours=1),
    NOW + timedelta(minutes=30),
    20_000,
)
LIMIT = Limit(
    LimitScope.TYPE,
    "email:send",
    2,
    None,
    "relay host moves",
    "ann",
    NOW - timedelta(hours=1),
    NOW + timedelta(hours=1),
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def process(role: str, *, started: float = 600.0, seen: float = 1.0, name: str = "", host: str = "node-1") -> Process:
    """``started`` 秒前启动，最近一拍在 ``seen`` 秒前。"""
    slots = SLOTS if role == "worker" else {}
    unique = name or f"{host}-{role}-{started:g}"
    return Process(unique, role, host, 7, "0.1.0", ago(started), ago(seen), seen, slots)


def broker(
    processes: Iterable[Process] | None = None,
    depths: dict[str, int] | None = None,
    breakers: Iterable[OpenBreaker] = (),
) -> Broker:
    alive = [process("api"), process("relay"), process("worker")] if processes is None else processes
    counts = {queue: (depths or {}).get(queue, 0) for queue in Priority}
    return Broker(counts, Census(NOW, succeed(list(alive))), list(breakers))


def lock(*, blocked: int = 5, seconds: float | None = 34.0, blocking: float = 0.4) -> Lock:
    return Lock(123, "postgres", "psql", seconds, blocking, blocked)


def flow(outcome: str = "succeeded", *, last: float = 1.0, **more: Any) -> Flow:
    """``last`` 秒前的最后一个；个数默认五分钟、一分钟、十秒各一个。"""
    given = {
        "type": "email:send",
        "queue": "default",
        "detail": {},
        "total": 1,
        "minute": 1,
        "moment": 1,
        "span": 300.0,
        "first_at": ago(last),
        **more,
    }
    return Flow(outcome=outcome, last_at=ago(last), **given)


def held(queue: str = "default", *, count: int = 1, started: float = 1.0, expired: int = 0) -> Held:
    return Held("w-1", queue, count, ago(started), ago(started), NOW + timedelta(seconds=10), expired)


def blocked(waited: float = 30.0) -> Blocked:
    return Blocked(UUID(int=7), "card-1", "retrying", {"reason": "450 4.2.1"}, waited, ago(waited))


def ledger(**more: Any) -> Ledger:
    """``due``：队列 → 最老的到期行等了几秒；``waiting``：待交付几个；``queued``：队列 → （几个，最老的几秒）。"""
    due: dict[str, float] = more.pop("due", {})
    waiting: dict[str, int] = more.pop("waiting", {})
    queued = {queue: Queued(queue, *found) for queue, found in more.pop("queued", {}).items()}
    forwarded = more.pop("forwarded", 1.0)
    counts = {
        "running": 0,
        "failed": 0,
        "uncertain": 0,
        "uncertain_since": None,
        "parked": more.pop("parked", 0),
        "parked_since": None,
        "outbox_rows": 0,
        "wiped_at": more.pop("wiped_at", None),
        **dict(zip(("vanished", "vanished_since"), more.pop("vanished", (0, None)), strict=True)),
        **more.pop("totals", {}),
    }
    totals = Totals(
        queued=sum(line.queued for line in queued.values()), last_forward_at=ago(forwarded), now=NOW, **counts
    )
    connected = [ConnectedProcess(role, "local", 3, 0, NOW, 0.0) for role in more.pop("connected", ())]
    lines = {
        queue: QueueBacklog(queue.rank, waiting.get(queue, int(queue in due)), due.get(queue)) for queue in Priority
    }
    given: dict[str, Any] = {
        "held": [],
        "flow": [],
        "blocked": [],
        "outside": [],
        **more,
    }
    return Ledger(totals=totals, backlog=lines, queued=queued, connected=connected, **given)


def seen(record: Ledger | None, line: Broker | None, *locks: Lock) -> Observation:
    return Observation(NOW, record, line, locks)
