"""``/api/v1/pauses``：停下一种任务、一个队列、一家运营商、一个提交者、一个有序键；到时自己恢复。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Part, ShortQuery
from api.endpoints.reasons import refused, worded
from api.endpoints.shapes import Choice, View
from api.endpoints.unit_of_work import Mode
from api.openapi import examples
from api.resources.audit import audited
from api.resources.fields import LastingRequest
from kaguan.audit.actions import PAUSE, RESUME
from kaguan.outbox.operate import pauses
from kaguan.outbox.operate.lasting import LONGEST_NAME
from kaguan.outbox.operate.pauses import MOST, Pausing
from kaguan.outbox.vocabulary import PauseScope
from kaguan.product.pausable import unknown
from kaguan.tokens.service import OPERATE
from kaguan.words.errors import Code, conflict

TAG = "pauses"
PATH = "/api/v1/pauses"


class PauseRequest(LastingRequest):
    """停下什么、到何时、为什么；``until`` 与 ``seconds`` 给一个。"""

    scope: Choice[PauseScope]
    name: Annotated[
        str, Field(min_length=1, max_length=LONGEST_NAME, description="类型、队列、运营商、提交者、键的名字")
    ]

    @model_validator(mode="after")
    def _says_it_all(self) -> Self:
        if (why := unknown(self.scope, self.name)) is not None:
            raise refused(why)
        try:
            self.wanted()
        except ValueError as error:
            raise worded(error) from None
        return self

    def wanted(self) -> Pausing:
        return Pausing(self.scope, self.name, self.reason, self.end)


class PauseView(View):
    """一处暂停；``waiting`` 是 relay 为它搁下的个数，数到一万为止。"""

    id: UUID
    scope: PauseScope
    name: str
    reason: str
    actor: str
    created_at: datetime
    until: datetime
    waiting: int


class PauseList(View):
    items: list[PauseView]
    page_size: int
    next_cursor: str | None


@endpoint(
    "GET",
    PATH,
    scope=OPERATE,
    summary="此刻停着的",
    tag=TAG,
    query=ShortQuery,
    data=PauseList,
    mode=Mode.DIRECT,
    example=examples.PAUSES,
)
async def list_pauses(call: Call[None, ShortQuery]) -> Answer:
    found = await pauses.pauses(await call.unit.raw())
    return Answer(Part.of(call.query, found, [str(one.id) for one in found]))


@endpoint(
    "POST",
    PATH,
    scope=OPERATE,
    summary="停下",
    tag=TAG,
    body=PauseRequest,
    data=PauseView,
    body_example=examples.PAUSE_IN,
    example=examples.PAUSE,
    success=201,
    errors=(Code.CONFLICT,),
)
async def pause(call: Call[PauseRequest, None]) -> Answer:
    """提交之后一个也不开始，已交出的也算；在跑的照跑。停着的不耗尝试，也不拦着别的；到时自己恢复。"""
    body = call.body
    made = await pauses.pause(await call.unit.raw(), body.wanted(), call.principal.name, call.unit.after_commit)
    if made is None:
        raise conflict("pauses", f"至多同时停 {MOST} 处", f"at most {MOST} pauses at a time")
    await audited(
        call, PAUSE, str(made.id), scope=made.scope, name=made.name, reason=made.reason, until=made.until.isoformat()
    )
    return Answer(made)


@endpoint(
    "DELETE",
    PATH + "/{pause_id:uuid}",
    scope=OPERATE,
    summary="恢复",
    tag=TAG,
    data=PauseView,
    example=examples.PAUSE,
    errors=(Code.NOT_FOUND,),
)
async def resume(call: Call[None, None]) -> Answer:
    """停着的立刻到期，次序不变；很多的话一批批放。"""
    pause_id = call.uuid("pause_id")
    ended = await pauses.resume(await call.unit.raw(), pause_id, call.principal.name, call.unit.after_commit)
    await audited(call, RESUME, str(pause_id), scope=ended.scope, name=ended.name)
    call.unit.after_commit(call.services.ring)
    return Answer(ended)


ROUTES: tuple[Endpoint, ...] = (list_pauses, pause, resume)
