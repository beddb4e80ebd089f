"""verdict:push：判断变了，推给 ``alerts.url``。载荷里已是成文：各次尝试逐字节相同。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kaguan.outbox.task_type import Effect, Payload, TaskType

MOST = 200  # 一次至多说几件
State = Literal["opened", "worse", "cleared"]
Severity = Literal["warn", "bad"]


class Change(BaseModel):
    """一件事变了；``id`` 是历史里的那一件，出了、更重了、没了都是同一个。"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    state: State
    code: str
    severity: Severity
    subject: str
    text: str
    advice: str
    since: datetime
    ended_at: datetime | None
    runbook: str


class PushPayload(Payload):
    """verdict:push。``level`` 是说的那一刻整个判断有多重；试一声的没有 ``concerns``。"""

    event: Literal["verdict.changed", "verdict.test"] = "verdict.changed"
    at: datetime
    instance: str
    level: Literal["ok", "warn", "bad"]
    console: str
    concerns: Annotated[tuple[Change, ...], Field(max_length=MOST)]


PUSHES = 2  # 一个 worker 里同时至多推几个
# 对方凭 webhook-id 认得重复（Standard Webhooks）
VERDICT_PUSH = TaskType(
    "verdict:push",
    PushPayload,
    Effect.REPEATABLE,
    shareable=True,
    limit=PUSHES,
    summary=("level", "concerns.code"),
)
