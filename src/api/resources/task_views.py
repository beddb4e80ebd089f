"""任务在应答里的样子：受理、一个、一页、重放。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from api.endpoints.shapes import View
from kaguan.outbox.accept.acceptance import Accepted
from kaguan.outbox.operate.detail import TaskDetail
from kaguan.outbox.operate.place import PLACE_CAP, Place
from kaguan.outbox.operate.record import TaskRecord
from kaguan.outbox.operate.replay import REPLAY_LIMIT
from kaguan.outbox.operate.summary import Summary
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.vocabulary import PauseScope, Priority, TaskStatus
from kaguan.product.task_types import TaskTypeName
from kaguan.words.reasons import told


class ErrorView(View):
    """为什么没成；没有 ``code`` 的只有一句话。"""

    reason: str | None = Field(None, description="原因，用 ``Accept-Language`` 的语言说")
    code: str | None = Field(None, description="原因的代号，``领域.名字``，不随语言变")
    parameters: dict[str, Any] | None = Field(
        None, description="原因里填的：文本、数、又一个原因（``code`` 与 ``parameters``），或它们的列表"
    )
    waiting_for: str | None = Field(None, description="在等外面的谁恢复")
    since: datetime | None = Field(None, description="从何时起在等")


class Blocker(View):
    """同一个有序键上正放行的任务：它有了结局，下一个才走。"""

    task_id: UUID
    type: TaskTypeName
    status: TaskStatus
    attempts: int
    max_attempts: int
    available_at: datetime
    started_at: datetime | None
    error: ErrorView | None


class PausedView(View):
    """停着它的暂停。"""

    id: UUID
    scope: PauseScope
    name: str
    reason: str
    until: datetime


class TaskView(View):
    """一个任务。``attempts`` 是已开始的尝试数。"""

    task_id: UUID
    type: TaskTypeName
    queue: Priority
    status: TaskStatus
    caller: str = Field(description="提交者：令牌的名字")
    summary: str | None = Field(description="一行摘要：收件人与主题，哪几张卡，哪一段日子")
    request_id: str | None
    attempts: int
    max_attempts: int
    progress: dict[str, Any] | None
    result: dict[str, Any] | None = Field(description="任务详情里才有；列表里总是 null")
    error: ErrorView | None
    trace_id: str | None
    created_at: datetime
    available_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    ordering_key: str | None
    position: int | None = Field(
        None, description=f"没结束的任务在它的有序键上排第几，1 是正放行的那个；数到 {PLACE_CAP} 为止。任务详情里才有"
    )
    blocked_by: Blocker | None = Field(None, description="它等着的、同键正放行的那个任务。任务详情里才有")
    paused: PausedView | None = Field(None, description="停着它、让它不开始的暂停。任务详情里才有")
    timeline: list[dict[str, Any]] | None = None


class TaskPage(View):
    items: list[TaskView]
    page_size: int
    next_cursor: UUID | None


class StatusView(View):
    task_id: UUID
    status: TaskStatus


class PayloadView(View):
    task_id: UUID
    type: TaskTypeName
    payload: dict[str, Any] = Field(description="受理时收下的，由它的类型解释")


class ReplayView(View):
    dry_run: bool
    total: int | None = Field(None, description="试运行：会重放几个，至多 ``limit`` 个")
    limited: bool | None = Field(None, description="试运行：符合条件的不止 ``total`` 个，被 ``limit`` 截住")
    complete: bool | None = Field(None, description="试运行：找完了没有；没有就先做这些，再看一遍")
    matching: int | None = Field(
        None, description=f"试运行：符合条件的个数，数到 {REPLAY_LIMIT + 1} 为止；重放的是其中最老的 ``total`` 个"
    )
    matched: list[dict[str, Any]] | None = Field(None, description="试运行：前几个会被选中的任务")
    preview: str | None = Field(None, description="试运行：选定了谁的凭据，交回来就只重放这些")
    replayed: int | None = Field(None, description="实际重放的个数")
    skipped: int | None = Field(None, description="选定了而没有重放的：已不是选定时的样子，或正被别人锁着")
    last_due: datetime | None = Field(None, description="最后一个的到期时间（限速错开）")


class SweepView(View):
    """试运行：会选中谁；实际：做了几个。"""

    dry_run: bool
    total: int | None = Field(None, description="试运行：会做几个，至多 ``limit`` 个")
    limited: bool | None = Field(None, description="试运行：符合条件的不止这些")
    complete: bool | None = Field(None, description="试运行：找完了没有；没有就把条件收窄些，或分几次做")
    counts: dict[TaskStatus, int] | None = Field(None, description="试运行：各状态几个")
    matched: list[dict[str, Any]] | None = Field(None, description="试运行：前几个会被选中的任务，新的在前")
    preview: str | None = Field(None, description="试运行：选定了谁的凭据，交回来就只做这些")
    done: int | None = Field(None, description="做了几个")
    asked: int | None = Field(None, description="正在执行的，已请求停下的几个")
    skipped: int | None = Field(None, description="选定了而没有做的：已不是选定时的样子，或正被别人锁着")


class AcceptedView(View):
    """受理的任务。``replayed`` 表示这是重复提交，给的是首个任务。"""

    task_id: UUID
    type: TaskTypeName
    queue: Priority
    status: TaskStatus
    replayed: bool = False


class ItemAnswer(View):
    """一项的答案：``code`` 为 0 时有 ``task``，否则有 ``msg`` 与 ``errors``。"""

    index: int
    code: int
    msg: str
    task: AcceptedView | None = None
    errors: list[dict[str, str]] | None = None


class BatchView(View):
    accepted: int
    rejected: int
    items: list[ItemAnswer]


def task_view(task: TaskRecord, language: str, summary: Summary | None) -> dict[str, Any]:
    """:class:`TaskView` 的内容；热路径，直接给字典。"""
    return {
        "task_id": task.id,
        "type": task.type,
        "queue": task.queue,
        "status": task.status,
        "caller": task.caller,
        "summary": None if summary is None else summary.text(language),
        "request_id": task.request_id,
        "attempts": task.attempt,
        "max_attempts": task.max_attempts,
        "progress": task.progress,
        "result": task.result,
        "error": _error(task.last_error, language),
        "trace_id": _trace_id(task.traceparent),
        "created_at": task.created_at,
        "available_at": task.available_at,
        "queued_at": task.queued_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "cancel_requested_at": task.cancel_requested_at,
        "ordering_key": task.ordering_key,
    }


def detail_view(found: TaskDetail, language: str) -> dict[str, Any]:
    """:class:`TaskView` 的内容，连同详情里才有的。"""
    paused = found.paused
    return {
        **task_view(found.task, language, found.summary),
        **_place(found.place, language),
        "paused": None if paused is None else {name: getattr(paused, name) for name in PausedView.model_fields},
        "timeline": timeline(found.task, found.events, language),
    }


def accepted_view(accepted: Accepted, type_name: str, queue: Priority) -> dict[str, Any]:
    """:class:`AcceptedView` 的内容；热路径，直接给字典。"""
    return {
        "task_id": accepted.task_id,
        "type": type_name,
        "queue": queue,
        "status": accepted.status,
        "replayed": accepted.replayed,
    }


def _error(error: Mapping[str, Any] | None, language: str) -> dict[str, Any] | None:
    return None if error is None else told(error, language)


def _place(place: Place | None, language: str) -> dict[str, Any]:
    if place is None:
        return {"position": None, "blocked_by": None}
    head = place.blocked_by
    blocker = None if head is None else asdict(head) | {"error": _error(head.error, language)}
    return {"position": place.position, "blocked_by": blocker}


def _trace_id(traceparent: str | None) -> str | None:
    """``00-<trace_id>-<span_id>-<flags>``（W3C Trace Context）。"""
    _, dash, rest = (traceparent or "").partition("-")
    return rest.partition("-")[0] if dash else None
