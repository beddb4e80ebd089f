"""``/api/v1/sims``：SIM 库存，由同步任务保持真实。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import web

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.negotiation import wants_csv
from api.endpoints.preconditions import etag, expected_version
from api.http.exporting import reading, send_csv
from api.openapi import examples
from api.resources.audit import audited, audited_change
from api.resources.sim_models import (
    CardView,
    MonthDayView,
    MonthView,
    ProfileView,
    RegistrationView,
    SimBatch,
    SimBatchView,
    SimEventList,
    SimEventQuery,
    SimEventView,
    SimList,
    SimPatch,
    SimQuery,
    SimView,
    UsageDayView,
    UsageQuery,
    UsageView,
)
from api.resources.task_models import ACCEPT_ERRORS, ACCEPT_HEADERS, PATH
from api.resources.task_views import AcceptedView, accepted_view
from kaguan.audit.actions import SIM_DELETE, SIM_REFRESH, SIM_REGISTER, SIM_UPDATE
from kaguan.database.paging import Position, decode_cursor, encode_cursor
from kaguan.outbox.vocabulary import Priority
from kaguan.sims import exporting, history, service, sheet, store
from kaguan.sims.refreshing import refresh
from kaguan.sims.search import find, texts_of
from kaguan.sims.service import Registered, Registration, usage_range
from kaguan.sims.tasks import SIM_STATUS_SYNC
from kaguan.tokens.service import SIMS_READ as READ
from kaguan.tokens.service import SIMS_WRITE as WRITE
from kaguan.words.errors import Code
from kaguan.words.units import MIB

TAG = "sims"
COLLECTION = "/api/v1/sims"
ITEM = COLLECTION + "/{iccid:number}"


@endpoint(
    "POST",
    COLLECTION,
    scope=WRITE,
    summary="登记一批卡，逐张回答",
    tag=TAG,
    body=SimBatch,
    body_limit=14 * MIB,  # 1000 张卡，每个字段都写满，全写成 \u 转义
    data=SimBatchView,
    body_example=examples.SIMS_IN,
    example=examples.REGISTERED_SIMS,
    success=HTTPStatus.CREATED,
    other_success=(HTTPStatus.OK,),
)
async def register_sims(call: Call[SimBatch, None]) -> Answer:
    given = [service.NewSim(**sim.model_dump()) for sim in call.body.sims]
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


@endpoint(
    "GET",
    COLLECTION,
    scope=READ,
    summary="列出卡、找卡",
    tag=TAG,
    query=SimQuery,
    data=SimList,
    example=examples.SIMS,
    csv=examples.SIMS_CSV,
)
async def list_sims(call: Call[None, SimQuery]) -> Answer | web.StreamResponse:
    """`Accept: text/csv` 得到从这一页起的全部，列名与字段相同；至多（约）二百万张，多了就拒绝。

    边取边写：开始之后登记的不在其中。中途断了的，连接被掐断，没有收尾。
    """
    query = call.query
    request = query.request()
    texts = [] if query.q is None else texts_of(query.q)
    found = await find(await call.unit.raw(), texts) if texts else None
    wanted = store.SimFilter(
        carrier=query.carrier,
        lifecycle_state=query.lifecycle_state,
        msisdn=query.msisdn,
        imsi=query.imsi,
        plan=query.plan,
        group=query.group,
        customer=query.customer,
        tag=query.tag,
        ids=None if found is None else found.ids,
    )
    if wants_csv(call.request):
        await call.unit.release()
        pages = exporting.cards(partial(reading, call.request), request, wanted)
        return await _csv(call, "cards", sheet.CARD, pages)
    page = await store.list_sims(await call.unit.connection(), request, wanted)
    listed = SimList.of(query, page)
    return Answer(listed if found is None else listed.model_copy(update={"not_found": found.missing}))


@endpoint(
    "GET",
    ITEM,
    scope=READ,
    summary="查卡，连同本月用量与换下的 profile",
    tag=TAG,
    data=CardView,
    errors=(Code.NOT_FOUND,),
    headers=("ETag",),
    example=examples.CARD,
)
async def get_sim(call: Call[None, None]) -> Answer:
    card = await service.get_card(await call.unit.connection(), call.text("iccid"))
    month = MonthView(
        start_date=card.month.start,
        end_date=card.month.today,
        data_bytes=card.month.data_bytes,
        sms_count=card.month.sms_count,
        items=[
            MonthDayView(day=day, data_bytes=data, sms_count=count) for day, (data, count) in card.month.days.items()
        ],
    )
    profiles = [ProfileView.model_validate(profile) for profile in card.profiles]
    view = CardView.model_validate({**asdict(card.sim), "month": month, "profiles": profiles})
    return Answer(view, headers={"ETag": etag(card.sim.version)})


_change = partial(
    endpoint,
    path=ITEM,
    scope=WRITE,
    tag=TAG,
    body=SimPatch,
    data=SimView,
    headers=("ETag",),
    body_example=examples.SIM_PATCH,
    example=examples.CHANGED_SIM,
    errors=(Code.NOT_FOUND, Code.CONFLICT, Code.PRECONDITION_FAILED),
)


@_change("PATCH", summary="改卡的档案：号码、套餐、分组、标签、客户、备注，或换 profile")
async def change_sim(call: Call[SimPatch, None]) -> Answer:
    return await _update(call)


@_change("PUT", summary="同 PATCH")
async def update_sim(call: Call[SimPatch, None]) -> Answer:
    return await _update(call)


async def _update(call: Call[SimPatch, None]) -> Answer:
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


@endpoint(
    "GET",
    ITEM + "/events",
    scope=READ,
    summary="一张卡的状态变更，新的在前",
    tag=TAG,
    query=SimEventQuery,
    data=SimEventList,
    example=examples.SIM_EVENTS,
    csv=examples.SIM_EVENTS_CSV,
    errors=(Code.NOT_FOUND,),
)
async def list_sim_events(call: Call[None, SimEventQuery]) -> Answer | web.StreamResponse:
    """`Accept: text/csv` 得到从这一页起的全部。"""
    size, cursor = call.query.page_size, call.query.cursor
    before = history.NEWEST if cursor is None else decode_cursor(cursor).id
    iccids = await service.numbers_of(await call.unit.connection(), call.text("iccid"))
    if wants_csv(call.request):
        await call.unit.release()
        return await _csv(call, "events", sheet.EVENT, exporting.events(partial(reading, call.request), iccids, before))
    rows = await history.events(await call.unit.raw(), iccids, size + 1, before)
    kept = rows[:size]
    more = encode_cursor(Position(kept[-1].id)) if len(rows) > size else None
    items = [SimEventView.model_validate(row) for row in kept]
    return Answer(SimEventList(items=items, page_size=size, next_cursor=more))


@endpoint(
    "POST",
    ITEM + "/refresh",
    scope=WRITE,
    summary="此刻就去问运营商这张卡的状态，不管新鲜期；排在 critical 队列",
    tag=TAG,
    data=AcceptedView,
    success=HTTPStatus.ACCEPTED,
    errors=(Code.NOT_FOUND, *ACCEPT_ERRORS),
    guards_backlog=True,
    headers=ACCEPT_HEADERS,
    example={**examples.accepted(SIM_STATUS_SYNC.name), "queue": Priority.CRITICAL.value},
)
async def refresh_sim(call: Call[None, None]) -> Answer:
    services, after_commit = call.services, call.unit.after_commit
    attempts, count = services.settings.tasks.max_attempts, services.metrics.count_accepted
    driver, iccid = await call.unit.raw(), call.text("iccid")
    done = await refresh(driver, iccid, call.principal.name, attempts, after_commit, count)
    accepted = done.accepted
    await audited(call, SIM_REFRESH, done.iccid, task_id=str(accepted.task_id))
    after_commit(services.ring)
    data = accepted_view(accepted, SIM_STATUS_SYNC.name, Priority.CRITICAL)
    return Answer(data, headers={"Location": f"{PATH}/{accepted.task_id}", "Retry-After": "1"})


async def _csv(
    call: Call[Any, Any], name: str, columns: Sequence[sheet.Column], pages: AsyncIterator[Sequence[object]]
) -> web.StreamResponse:
    titles = [column.name for column in columns]
    return await send_csv(call.request, call.principal.id, name, titles, pages, partial(sheet.cells, columns))


ROUTES: tuple[Endpoint, ...] = (
    register_sims,
    list_sims,
    get_sim,
    change_sim,
    update_sim,
    delete_sim,
    get_sim_usage,
    list_sim_events,
    refresh_sim,
)
