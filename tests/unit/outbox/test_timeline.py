from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from kaguan.outbox.operate.record import EventRecord, TaskRecord
from kaguan.outbox.operate.timeline import timeline

START = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def failed(finished: float) -> TaskRecord:
    return TaskRecord(
        id=UUID(int=1), type="email:send", queue="default", caller="x", request_id=None, status="failed", attempt=1,
        max_attempts=1, delivery=1, lost_leases=0, worker=None, progress=None, result=None,
        last_error={"reason": "550"},
        traceparent=None, created_at=START, available_at=START, queued_at=after(1), started_at=after(2),
        finished_at=after(finished), cancel_requested_at=None, lease_until=None, ordering_key=None,
    )  # fmt: skip


def event(kind: str, at: float, started: float | None = None) -> EventRecord:
    return EventRecord(after(at), kind, 1, 1, "w1", None, {}, None, None if started is None else after(started))


def test_the_attempt_fails_before_the_task_does_though_written_microseconds_later() -> None:
    for ending in ("attempt_failed", "parked"):
        stages = [stage["stage"] for stage in timeline(failed(3), [event(ending, 3.000_004)])]
        assert stages == ["accepted", "queued", "started", ending, "failed"]


def test_what_comes_later_stays_later() -> None:
    stages = timeline(
        failed(3), [event("attempt_failed", 3.000_004), event("fenced", 3.5), event("attempt_failed", 60)]
    )
    assert [stage["stage"] for stage in stages][3:] == ["attempt_failed", "failed", "fenced", "attempt_failed"]
    assert [stage["at"] for stage in stages][3:] == [after(3.000_004), after(3), after(3.5), after(60)]


def test_each_attempt_that_ended_is_seen_to_start_and_none_twice() -> None:
    """任务上只有最后一次的开始；先前的各次由它们的收场说。"""
    stages = timeline(failed(9), [event("attempt_failed", 1.5, started=1.2), event("attempt_failed", 9, started=2)])
    starts = [stage["at"] for stage in stages if stage["stage"] == "started"]
    assert starts == [after(1.2), after(2)]
