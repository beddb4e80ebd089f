"""``/api/v1/limits``：运行中另定一种任务的名额、一家运营商的限额；到时自己回到配置里的。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Part, ShortQuery
from api.endpoints.reasons import reason
from api.endpoints.shapes import View
from api.endpoints.unit_of_work import Mode
from api.openapi import examples
from api.resources.audit import audited
from api.resources.fields import LastingRequest
from kaguan.audit.actions import LIFT, LIMIT
from kaguan.config import Settings
from kaguan.outbox.operate import limits
from kaguan.outbox.operate.limits import MOST, Limit, Limiting
from kaguan.outbox.vocabulary import HIGHEST_AT_ONCE, HIGHEST_RATE, LimitScope
from kaguan.product.limitable import configured, unknown
from kaguan.tokens.service import OPERATE
from kaguan.words.errors import Code, conflict, invalid, refused
from kaguan.words.wrong import both

TAG = "limits"
PATH = "/api/v1/limits"

AtOnce = Annotated[int, Field(ge=1, le=HIGHEST_AT_ONCE)]
Rate = Annotated[int, Field(ge=1, le=HIGHEST_RATE)]


class TypeLimitRequest(LastingRequest):
    at_once: AtOnce = Field(description="一个 worker 里同时至多几个；急的队列各多一个")


class CarrierLimitRequest(LastingRequest):
    """``at_once`` 与 ``per_second`` 至少给一个；没给的照配置。"""

    at_once: AtOnce | None = Field(None, description="全部 worker 合计，同时至多几次调用")
    per_second: Rate | None = Field(None, description="全部 worker 合计，每秒至多几次调用")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.at_once is None and self.per_second is None:
            raise reason("at_once、per_second 至少给一个", "give at_once, per_second, or both")
        return self


class LimitValues(View):
    at_once: int | None = Field(description="空着就是不管")
    per_second: int | None


class LimitView(View):
    """一道另定的限额；空着的照配置，``configured`` 是到时回到的。"""

    scope: LimitScope
    name: str
    at_once: int | None
    per_second: int | None
    configured: LimitValues
    reason: str
    actor: str
    created_at: datetime
    until: datetime


class LimitList(View):
    items: list[LimitView]
    page_size: int
    next_cursor: str | None


@endpoint(
    "GET",
    PATH,
    scope=OPERATE,
    summary="此刻另定的限额",
    tag=TAG,
    query=ShortQuery,
    data=LimitList,
    mode=Mode.DIRECT,
    example=examples.LIMITS,
)
async def list_limits(call: Call[None, ShortQuery]) -> Answer:
    found = await limits.limits(await call.unit.raw())
    shown = [_view(one, call.services.settings) for one in found]
    return Answer(Part.of(call.query, shown, [f"{one.scope}/{one.name}" for one in found]))


@endpoint(
    "PUT",
    PATH + "/types/{name:str}",
    scope=OPERATE,
    summary="另定一种任务的名额",
    tag=TAG,
    body=TypeLimitRequest,
    data=LimitView,
    body_example=examples.TYPE_LIMIT_IN,
    example=examples.TYPE_LIMIT,
    errors=(Code.CONFLICT,),
)
async def limit_type(call: Call[TypeLimitRequest, None]) -> Answer:
    """两秒左右在全部 worker 里生效；在跑的照跑，没有名额的回去等，不耗尝试。到时自己照旧；一个也不要就暂停它。"""
    return await _limit(call, LimitScope.TYPE, call.text("name"), call.body.at_once, None)


@endpoint(
    "PUT",
    PATH + "/carriers/{name:str}",
    scope=OPERATE,
    summary="另定一家运营商的限额",
    tag=TAG,
    body=CarrierLimitRequest,
    data=LimitView,
    body_example=examples.CARRIER_LIMIT_IN,
    example=examples.CARRIER_LIMIT,
    errors=(Code.CONFLICT,),
)
async def limit_carrier(call: Call[CarrierLimitRequest, None]) -> Answer:
    """一秒左右在全部 worker 里生效。到时自己回到配置里的；一次也不要就暂停它。"""
    body = call.body
    return await _limit(call, LimitScope.CARRIER, call.text("name"), body.at_once, body.per_second)


@endpoint(
    "DELETE",
    PATH + "/types/{name:str}",
    scope=OPERATE,
    summary="一种任务的名额照旧",
    tag=TAG,
    data=LimitView,
    example=examples.TYPE_LIMIT,
    errors=(Code.NOT_FOUND,),
)
async def lift_type(call: Call[None, None]) -> Answer:
    return await _lift(call, LimitScope.TYPE, call.text("name"))


@endpoint(
    "DELETE",
    PATH + "/carriers/{name:str}",
    scope=OPERATE,
    summary="一家运营商的限额照旧",
    tag=TAG,
    data=LimitView,
    example=examples.CARRIER_LIMIT,
    errors=(Code.NOT_FOUND,),
)
async def lift_carrier(call: Call[None, None]) -> Answer:
    return await _lift(call, LimitScope.CARRIER, call.text("name"))


async def _limit(
    call: Call[Any, None], scope: LimitScope, name: str, at_once: int | None, per_second: int | None
) -> Answer:
    body: LastingRequest = call.body
    if (why := unknown(scope, name)) is not None:
        raise refused(Code.INVALID_PARAMETERS, why, scope)
    try:
        wanted = Limiting(scope, name, body.reason, body.end, at_once, per_second)
    except ValueError as error:
        zh, en = both(error)
        raise invalid(en.partition(":")[0], zh, en) from None
    made = await limits.limit(await call.unit.raw(), wanted, call.principal.name, call.unit.after_commit)
    if made is None:
        raise conflict("limits", f"至多同时另定 {MOST} 道", f"at most {MOST} limits at a time")
    told = {"at_once": made.at_once, "per_second": made.per_second, "until": made.until.isoformat()}
    await audited(call, LIMIT, name, scope=scope, reason=made.reason, **told)
    return Answer(_view(made, call.services.settings))


async def _lift(call: Call[None, None], scope: LimitScope, name: str) -> Answer:
    ended = await limits.lift(await call.unit.raw(), scope, name, call.principal.name, call.unit.after_commit)
    await audited(call, LIFT, name, scope=scope)
    return Answer(_view(ended, call.services.settings))


def _view(one: Limit, settings: Settings) -> dict[str, Any]:
    return {**asdict(one), "configured": configured(settings, one.scope, one.name)._asdict()}


ROUTES: tuple[Endpoint, ...] = (list_limits, limit_type, limit_carrier, lift_type, lift_carrier)
