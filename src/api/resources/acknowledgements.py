"""``/api/v1/verdict/acknowledgements``：有人知道了的，收起来到何时。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.console.verdicts import VERDICTS
from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Part, ShortQuery
from api.endpoints.reasons import worded
from api.endpoints.shapes import Choice, View
from api.endpoints.unit_of_work import Mode
from api.openapi import running_examples as examples
from api.resources.audit import audited
from api.resources.fields import LastingRequest
from api.resources.holders import TAG
from kaguan.audit.actions import ACKNOWLEDGE, REMIND
from kaguan.tokens.service import OPERATE
from kaguan.verdict import acknowledging
from kaguan.verdict.acknowledging import MOST, Acknowledging
from kaguan.verdict.model import ConcernCode
from kaguan.words.errors import Code, DomainError, conflict

PATH = "/api/v1/verdict/acknowledgements"


class AcknowledgementRequest(LastingRequest):
    """收起哪一件、到何时、为什么；``until`` 与 ``seconds`` 给一个。"""

    code: Choice[ConcernCode]
    subject: Annotated[str, Field(max_length=500, description="`/health` 里那一件的 `subject`")] = ""

    @model_validator(mode="after")
    def _says_it_all(self) -> Self:
        try:
            self.wanted()
        except ValueError as error:
            raise worded(error) from None
        return self

    def wanted(self) -> Acknowledging:
        return Acknowledging(self.code, self.subject, self.reason, self.end)


class AcknowledgementView(View):
    """收起来的一件：比 ``level`` 更重、比 ``most`` 更多，就自己再说。"""

    id: UUID
    code: str
    subject: str
    level: Literal["warn", "bad"]
    most: int | None
    reason: str
    actor: str
    created_at: datetime
    until: datetime


class AcknowledgementList(View):
    items: list[AcknowledgementView]
    page_size: int
    next_cursor: str | None


@endpoint(
    "GET",
    PATH,
    scope=OPERATE,
    summary="此刻收着的",
    tag=TAG,
    query=ShortQuery,
    data=AcknowledgementList,
    mode=Mode.DIRECT,
    example=examples.ACKNOWLEDGEMENTS,
)
async def list_acknowledgements(call: Call[None, ShortQuery]) -> Answer:
    found = await acknowledging.acknowledged(await call.unit.raw())
    return Answer(Part.of(call.query, found, [str(one.id) for one in found]))


@endpoint(
    "POST",
    PATH,
    scope=OPERATE,
    summary="收起判断里的一件",
    tag=TAG,
    body=AcknowledgementRequest,
    data=AcknowledgementView,
    body_example=examples.ACKNOWLEDGEMENT_IN,
    example=examples.ACKNOWLEDGEMENT,
    success=201,
    errors=(Code.NOT_FOUND, Code.CONFLICT),
)
async def acknowledge(call: Call[AcknowledgementRequest, None]) -> Answer:
    """不再给控制台与判断的 ``level`` 上色，仍列着，写明谁、为什么、到何时；到时、更重了自己再说。"""
    wanted = call.body.wanted()
    _, verdict = await call.request.app[VERDICTS].look()
    concern = wanted.of(verdict.concerns)
    if concern is None:
        raise DomainError(Code.NOT_FOUND, "判断里此刻没有这一件", "the verdict has no such concern now")
    made = await acknowledging.acknowledge(await call.unit.raw(), wanted, concern, call.principal.name)
    if made is None:
        raise conflict("acknowledgements", f"至多收着 {MOST} 件", f"at most {MOST} acknowledgements at a time")
    told = {"subject": made.subject, "reason": made.reason, "until": made.until.isoformat()}
    await audited(call, ACKNOWLEDGE, made.code, **told)
    return Answer(made)


@endpoint(
    "DELETE",
    PATH + "/{acknowledgement_id:uuid}",
    scope=OPERATE,
    summary="提前再说",
    tag=TAG,
    data=AcknowledgementView,
    example=examples.ACKNOWLEDGEMENT,
    errors=(Code.NOT_FOUND,),
)
async def remind(call: Call[None, None]) -> Answer:
    ended = await acknowledging.remind(await call.unit.raw(), call.uuid("acknowledgement_id"))
    if ended is None:
        raise DomainError(Code.NOT_FOUND)
    await audited(call, REMIND, ended.code, subject=ended.subject)
    return Answer(ended)


ROUTES: tuple[Endpoint, ...] = (list_acknowledgements, acknowledge, remind)
