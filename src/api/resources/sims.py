"""``/api/v1/sims``：SIM 库存，由同步任务保持真实。"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import endpoint
from api.endpoints.preconditions import etag, expected_version
from api.openapi import examples
from api.resources.audit import audited, audited_change
from api.resources.sim_models import (
    RegistrationView,
    SimBatch,
    SimBatchView,
    SimList,
    SimPatch,
    SimQuery,
    SimView,
    UsageDayView,
    UsageQuery,
    UsageView,
)
from kaguan.audit.actions import SIM_DELETE, SIM_REGISTER, SIM_UPDATE
from kaguan.sims import service, store
from kaguan.sims.service import Registered, usage_range
from kaguan.tokens.service import SIMS_READ as READ
from kaguan.tokens.service import SIMS_WRITE as WRITE
from kaguan.words.errors import Code
from kaguan.words.units import MIB

if TYPE_CHECKING:
    from api.endpoints.endpoint import Endpoint
    from kaguan.sims.service import Registration

TAG = "sims"
COLLECTION = "/api/v1/sims"
ITEM = COLLECTION + "/{iccid:str}"


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
    if view.created:
        await audited(call, SIM_REGISTER, count=view.created)
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


@endpoint("GET", COLLECTION, scope=READ, summary="列出卡", tag=TAG, query=SimQuery, data=SimList, example=examples.SIMS)
async def list_sims(call: Call[None, SimQuery]) -> Answer:
    query = call.query
    wanted = store.SimFilter(query.carrier, query.lifecycle_state, query.msisdn, query.imsi)
    page = await store.list_sims(await call.unit.connection(), query.request(), wanted)
    return Answer(SimList.of(query, page))


@endpoint("GET", ITEM, scope=READ, summary="查卡", tag=TAG, data=SimView, errors=(Code.NOT_FOUND,),
          headers=("ETag",), example=examples.SIM)  # fmt: skip
async def get_sim(call: Call[None, None]) -> Answer:
    sim = await service.get_sim(await call.unit.connection(), call.text("iccid"))
    return Answer(SimView.model_validate(sim), headers={"ETag": etag(sim.version)})


@endpoint(
    "PUT",
    ITEM,
    scope=WRITE,
    summary="改卡的号码、备注",
    tag=TAG,
    body=SimPatch,
    data=SimView,
    headers=("ETag",),
    body_example=examples.SIM_PATCH,
    example=examples.CHANGED_SIM,
    errors=(Code.NOT_FOUND, Code.PRECONDITION_FAILED),
)
async def update_sim(call: Call[SimPatch, None]) -> Answer:
    version = expected_version(call.request)
    change = call.body.model_dump(include=call.body.model_fields_set)
    connection = await call.unit.connection()
    sim = await service.update_sim(connection, call.text("iccid"), change, version, call.unit.after_commit)
    await audited_change(call, SIM_UPDATE, sim.iccid, sim.version)
    return Answer(SimView.model_validate(sim), headers={"ETag": etag(sim.version)})


@endpoint(
    "DELETE",
    ITEM,
    scope=WRITE,
    summary="删卡（软删除；号码随即可再登记，用量留着）",
    tag=TAG,
    errors=(Code.NOT_FOUND, Code.PRECONDITION_FAILED),
)
async def delete_sim(call: Call[None, None]) -> Answer:
    version = expected_version(call.request)
    connection = await call.unit.connection()
    iccid = await service.delete_sim(connection, call.text("iccid"), version, call.unit.after_commit)
    await audited(call, SIM_DELETE, iccid)
    return Answer()


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


ROUTES: tuple[Endpoint, ...] = (register_sims, list_sims, get_sim, update_sim, delete_sim, get_sim_usage)
