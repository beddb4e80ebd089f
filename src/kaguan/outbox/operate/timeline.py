"""任务的时间线：正常路径来自时间列，例外来自事件，合在一起按时间排。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from kaguan.outbox.operate.record import EventRecord, TaskRecord
from kaguan.outbox.vocabulary import TaskEventKind, TaskStatus
from kaguan.telemetry.propagation import trace_id_of
from kaguan.words.reasons import told

LAST_WORDS = frozenset({TaskEventKind.ATTEMPT_FAILED, TaskEventKind.PARKED})
SETTLEMENT = timedelta(seconds=1)  # 同一条语句里的两个时刻不会差得更多


def timeline(task: TaskRecord, events: Sequence[EventRecord], language: str = "zh") -> list[dict[str, Any]]:
    """每一项 ``{stage, at, …}``，按时间升序；原因用 ``language`` 说。"""
    begun = [event for event in events if event.started_at is not None]
    normal: list[tuple[str, datetime | None]] = [
        ("accepted", task.created_at),
        ("queued", task.queued_at),
        # 只记着最后一次；收了场的各次由事件说
        ("started", None if task.started_at in {event.started_at for event in begun} else task.started_at),
    ]
    stages: list[dict[str, Any]] = [
        {"stage": "started", "at": event.started_at, "attempt": event.attempt, "delivery": event.delivery}
        for event in begun
    ]
    stages += [{"stage": "queued", "at": event.queued_at} for event in events if event.queued_at is not None]
    stages += [{"stage": stage, "at": at} for stage, at in normal if at is not None]
    if task.status == TaskStatus.RUNNING:
        stages[-1] |= _traced(task.last_attempt)
    stages += [
        {
            "stage": event.kind,
            "at": event.at,
            "attempt": event.attempt,
            "delivery": event.delivery,
            **({"worker": event.worker} if event.worker else {}),
            **({"actor": event.actor} if event.actor else {}),
            **_traced(event.traceparent),
            **told(event.detail, language),
        }
        for event in events
    ]
    if task.status == TaskStatus.RETRYING:
        stages.append({"stage": "next_attempt", "at": task.available_at, **_waiting(task.last_error, language)})
    # 取消、人的定论自带事件，不再重复
    if task.finished_at is not None and task.status != TaskStatus.CANCELLED and not settled_by_hand(events):
        traced = _traced(task.last_attempt) if task.status == TaskStatus.SUCCEEDED else {}
        stages.append({"stage": task.status, "at": task.finished_at, **traced})
    return sorted(stages, key=lambda item: (_settled(item, task), item["stage"] == task.status))


def settled_by_hand(events: Iterable[EventRecord]) -> bool:
    """结局是人定的，不是哪一次尝试做出来的；定了之后还可能有旧写入被挡住。"""
    deeds = [event.kind for event in events if event.kind in {TaskEventKind.RESOLVED, TaskEventKind.RETRIED}]
    return deeds[-1:] == [TaskEventKind.RESOLVED]


def _settled(stage: Mapping[str, Any], task: TaskRecord) -> datetime:
    """排序用的时刻：末次尝试的失败与任务的结局是同一次结算写的，先后只差几微秒，失败在前。"""
    at: datetime = stage["at"]
    end = task.finished_at
    if stage["stage"] in LAST_WORDS and end is not None and end <= at <= end + SETTLEMENT:
        return end
    return at


def _waiting(error: dict[str, Any] | None, language: str) -> dict[str, Any]:
    """在等外面的谁恢复：``waiting_for`` 是谁，``since`` 是从何时起，``reason`` 是最近一趟的说法。"""
    return told(error, language) if error is not None and "waiting_for" in error else {}


def _traced(traceparent: str | None) -> dict[str, str]:
    """这次尝试自己的跟踪号。"""
    trace_id = trace_id_of(traceparent)
    return {} if trace_id is None else {"trace_id": trace_id}
