"""``GET /api/v1/tasks/{id}/stack``：在跑的任务停在哪一行，在等哪把锁。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.shapes import View
from api.endpoints.unit_of_work import Mode
from api.openapi import running_examples as examples
from api.resources.task_models import PATH, TAG
from kaguan.outbox.operate.doing import doing
from kaguan.tokens.service import OPERATE
from kaguan.words.errors import Code


class FrameView(View):
    """一帧：只有位置与那一行源码，没有值。"""

    file: str
    line: int
    function: str
    source: str


class SessionView(View):
    """处理器手里的一条数据库连接，或挡着它的一个会话；别的角色的几项是空的。"""

    pid: int
    application: str
    role: str
    state: str | None
    seconds: float | None
    snapshot: int | None
    waits: str | None
    blocked_by: list[int]
    statement: str | None


class StackView(View):
    """做着它的 worker，与它说的；没有答的 ``note`` 说为什么。"""

    task_id: UUID
    type: str
    worker: str
    since: datetime | None
    progress: dict[str, Any] | None
    version: str | None
    host: str | None
    pid: int | None
    note: str | None
    frames: list[FrameView]
    sessions: list[SessionView]


@endpoint(
    "GET",
    PATH + "/{task_id:uuid}/stack",
    scope=OPERATE,
    summary="在跑的任务停在哪一行",
    tag=TAG,
    data=StackView,
    example=examples.STACK,
    errors=(Code.NOT_FOUND, Code.CONFLICT),
    mode=Mode.DIRECT,
)
async def get_stack(call: Call[None, None]) -> Answer:
    """现问做着它的 worker，至多等两秒；``frames`` 外层的在前。不在跑的 409。"""
    services = call.services
    found = await doing(services.pool.connection, services.redis, call.uuid("task_id"))
    note = found.note and found.note.text(call.language)
    return Answer(asdict(found) | {"note": note})


ROUTES: tuple[Endpoint, ...] = (get_stack,)
