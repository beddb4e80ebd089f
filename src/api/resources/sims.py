"""``/api/v1/sims``：SIM 库存，由同步任务保持真实。"""

from __future__ import annotations

from datetime import date, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import MIB, endpoint
from api.endpoints.listing import Listing, ListQuery
from api.endpoints.shapes import Choice, Day, QueryModel, RequestModel, View
from api.openapi import examples
from api.resources.fields import Remark
from kaguan.errors import Code
from kaguan.sims import service, store
from kaguan.sims.model import Carrier, LifecycleState
from kaguan.sims.service import Registered, usage_range

if TYPE_CHECKING:
    from api.endpoints.endpoint import Endpoint
    from kaguan.sims.service import Registration

TAG = "SIM"
READ = "sims:read"
WRITE = "sims:write"
COLLECTION = "/api/v1/sims"
ITEM = COLLECTION + "/{iccid:str}"
BATCH_MAX = 1_000

Number = Annotated[str, Field(min_length=1, max_length=64)]


class SimIn(RequestModel):
    """要登记的一张卡。号码的对错逐张回答，不使整批失败。"""

    iccid: Number
    carrier: Choice[Carrier]
    msisdn: Number | None = None
    imsi: Number | None = None
    remark: Remark | None = None


class SimBatch(RequestModel):
    """一批卡。"""

    sims: Annotated[list[SimIn], Field(min_length=1, max_length=BATCH_MAX)]


class RegistrationView(View):
    """一张卡的答复。``luhn_valid`` 为假只是提醒：校验位不对，但照样登记。"""

    iccid: str
    outcome: Registered
    id: int | None
    luhn_valid: bool | None
    field: str | None
    reason: str | None


class SimBatchView(View):
    """逐张的答复，次序与请求相同，和各种结果的张数。"""

    created: int
    conflict: int
    invalid: int
    items: list[RegistrationView]


class SimQuery(ListQuery):
    """卡列表的条件。"""

    carrier: Carrier | None = None
    lifecycle_state: LifecycleState | None = None


class SimView(View):
    """一张卡：生命周期、停机原因、在线状态与运营商原文各是各的。"""

    id: int
    iccid: str
    carrier: Carrier
    msisdn: str | None
    imsi: str | None
    remark: str | None
    luhn_valid: bool
    lifecycle_state: LifecycleState
    suspend_reason: str | None
    session_state: str | None
    carrier_status: str | None
    status_source: str | None
    status_changed_at: datetime | None
    status_synced_at: datetime | None
    info_synced_at: datetime | None
    activated_on: date | None
    version: int
    created_at: datetime
    updated_at: datetime


class SimList(Listing[SimView]):
    """一页卡。"""


class UsageQuery(QueryModel):
    """业务日的范围，含两端；默认到今天为止的 30 天。"""

    start_date: Day | None = None
    end_date: Day | None = None


class UsageDayView(View):
    """一天的用量。"""

    day: date
    data_bytes: int
    sms_count: int
    revision: int
    synced_at: datetime


class UsageView(View):
    """一张卡的日用量与合计；没有记录的日子不在其中。"""

    iccid: str
    start_date: date
    end_date: date
    data_bytes: int
    sms_count: int
    items: list[UsageDayView]


@endpoint(
    "POST",
    COLLECTION,
    scope=WRITE,
    summary="登记一批卡，逐张回答",
    tag=TAG,
    body=SimBatch,
    body_limit=8 * MIB,  # 1000 张卡，备注 500 字，全写成 \u 转义
    data=SimBatchView,
    body_example=examples.SIMS_IN,
    example=examples.REGISTERED_SIMS,
    success=HTTPStatus.CREATED,
    other_success=(HTTPStatus.OK,),
)
async def register_sims(call: Call[SimBatch, None]) -> Answer:
    given = [service.NewSim(sim.iccid, sim.carrier, sim.msisdn, sim.imsi, sim.remark) for sim in call.body.sims]
    answers = await service.register_sims(await call.unit.connection(), given, call.unit.after_commit)
    counts = {outcome: sum(answer.outcome is outcome for answer in answers) for outcome in Registered}
    view = SimBatchView(
        created=counts[Registered.CREATED],
        conflict=counts[Registered.CONFLICT],
        invalid=counts[Registered.INVALID],
        items=[_registration_view(answer, call.language) for answer in answers],
    )
    return Answer(view, status=HTTPStatus.CREATED if view.created else HTTPStatus.OK)


def _registration_view(answer: Registration, language: str) -> RegistrationView:
    error = {"field": None, "reason": None} if answer.error is None else answer.error.render(language)
    return RegistrationView(
        iccid=answer.iccid,
        outcome=answer.outcome,
        id=answer.id,
        luhn_valid=answer.luhn_valid,
        field=error["field"],
        reason=error["reason"],
    )


@endpoint("GET", COLLECTION, scope=READ, summary="列出卡", tag=TAG, query=SimQuery, data=SimList,
          example=examples.SIMS)  # fmt: skip
async def list_sims(call: Call[None, SimQuery]) -> Answer:
    query = call.query
    page = await store.list_sims(await call.unit.connection(), query.request(), query.carrier, query.lifecycle_state)
    return Answer(SimList.of(query, page))


@endpoint("GET", ITEM, scope=READ, summary="查卡", tag=TAG, data=SimView, errors=(Code.NOT_FOUND,),
          example=examples.SIM)  # fmt: skip
async def get_sim(call: Call[None, None]) -> Answer:
    return Answer(SimView.model_validate(await service.get_sim(await call.unit.connection(), call.text("iccid"))))


@endpoint(
    "GET",
    ITEM + "/usage",
    scope=READ,
    summary="查一张卡的日用量",
    tag=TAG,
    query=UsageQuery,
    data=UsageView,
    example=examples.SIM_USAGE,
    errors=(Code.NOT_FOUND,),
)
async def get_sim_usage(call: Call[None, UsageQuery]) -> Answer:
    since, until = usage_range(call.query.start_date, call.query.end_date)
    sim, days = await service.get_usage(await call.unit.connection(), call.text("iccid"), since, until)
    view = UsageView(
        iccid=sim.iccid,
        start_date=since,
        end_date=until,
        data_bytes=sum(day.data_bytes for day in days),
        sms_count=sum(day.sms_count for day in days),
        items=[UsageDayView.model_validate(day) for day in days],
    )
    return Answer(view)


ROUTES: tuple[Endpoint, ...] = (register_sims, list_sims, get_sim, get_sim_usage)
