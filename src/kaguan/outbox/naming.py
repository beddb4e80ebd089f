"""一行日志说的是哪些任务：一个就写它的号码，一批写清单，清单有上限。"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

from kaguan.telemetry.propagation import trace_id_of

LISTED = 300  # 一行至多列这么多个，relay 的一批（缺省）列得全；再多的看时间线


def named(
    task_ids: Sequence[UUID], traceparents: Sequence[str | None], request_ids: Sequence[str | None] = ()
) -> dict[str, Any]:
    """日志的字段：``task_id``、``trace_id``、``request_id``，几个任务则是它们的复数；没有的不写。"""
    fields = {
        "task_id": [str(task_id) for task_id in task_ids[:LISTED]],
        "trace_id": list(dict.fromkeys(filter(None, map(trace_id_of, traceparents[:LISTED])))),
        "request_id": list(filter(None, request_ids[:LISTED])),
    }
    if len(task_ids) == 1:
        return {name: values[0] for name, values in fields.items() if values}
    return {f"{name}s": values for name, values in fields.items() if values}


class Attempted(Protocol):
    """一个任务的一次尝试。"""

    @property
    def id(self) -> UUID: ...
    @property
    def type(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def traceparent(self) -> str | None: ...
    @property
    def request_id(self) -> str | None: ...


def attempted(tasks: Sequence[Attempted]) -> dict[str, Any]:
    """同一次投递的几个合一行：又快又多，一个任务一行要占它们处理时间的十分之一。"""
    alone = {"attempt": tasks[0].attempt} if len(tasks) == 1 else {}
    ids = named(
        [task.id for task in tasks],
        [task.traceparent for task in tasks],
        [task.request_id for task in tasks],
    )
    return {"task_type": tasks[0].type, "count": len(tasks), **alone, **ids}
