"""``/api/v1/sims/changes``：在运营商那里改卡，每张卡一张回执。"""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus

from aiohttp import web

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.negotiation import wants_csv
from api.openapi import examples
from api.resources.audit import audited
from api.resources.sim_change_models import (
    CardChangeList,
    CardChangeQuery,
    ChangedView,
    ChangeFilter,
    ChangeRequest,
    ChangeView,
)
from api.resources.sims import COLLECTION, ITEM, TAG
from api.resources.task_models import ACCEPT_ERRORS
from kaguan.audit.actions import SIM_CHANGE
from kaguan.carriers.build import change_limits
from kaguan.database.paging import Position, decode_cursor, encode_cursor
from kaguan.sims import changes, history, receipts, service
from kaguan.sims.changes import Asker, Planned, Wanted
from kaguan.sims.search import find, texts_of
from kaguan.sims.store import SimFilter
from kaguan.tokens.service import SIMS_CHANGE as CHANGE
from kaguan.tokens.service import SIMS_READ as READ
from kaguan.words.errors import Code, invalid
from kaguan.words.spreadsheet import BOM, MEDIA_TYPE
from kaguan.words.units import KIB

PATH = COLLECTION + "/changes"


@endpoint(
    "POST",
    PATH,
    scope=CHANGE,
    summary="在运营商那里改卡：停机、复机、激活、换套餐",
    tag=TAG,
    body=ChangeRequest,
    body_limit=512 * KIB,  # 一千个号码，夹着空格，全写成 \u 转义
    data=ChangedView,
    body_example=examples.CHANGE_IN,
    example=examples.ACCEPTED_CHANGE,
    success=HTTPStatus.ACCEPTED,
    other_success=(HTTPStatus.OK,),
    errors=(Code.NOT_FOUND, *ACCEPT_ERRORS),
    guards_backlog=True,
)
async def change_sims(call: Call[ChangeRequest, None]) -> Answer:
    """试运行答会改谁（200）；真做答 202，一张也没有受理的答 200，为什么在回执里。"""
    wanted = await _wanted(call)
    services, connection = call.services, await call.unit.raw()
    limits = change_limits(services.settings.carriers)
    if call.body.dry_run:
        planned = await changes.preview(connection, wanted, limits)
        return Answer(_preview(planned, call.language), status=HTTPStatus.OK)
    asked = call.body.model_dump(mode="json", exclude={"request_id", "dry_run"}, exclude_unset=True)
    asker = Asker(call.principal.name, call.body.request_id, asked)
    after_commit, count = call.unit.after_commit, services.metrics.count_accepted
    done = await changes.accept(connection, wanted, asker, limits, after_commit, count)
    if not done.replayed:
        facts = {"change": wanted.change, "accepted": done.accepted, "refused": done.refused}
        await audited(call, SIM_CHANGE, str(done.id), **facts)
    after_commit(services.ring)
    said = {"dry_run": False, "change": wanted.change, "plan": wanted.plan, "limited": wanted.limited}
    status = HTTPStatus.ACCEPTED if done.accepted else HTTPStatus.OK
    answer = ChangedView.model_validate(asdict(done) | said)
    return Answer(answer, status)


async def _wanted(call: Call[ChangeRequest, None]) -> Wanted:
    """点名了谁。

    Raises:
        DomainError: 1001，凭据不对，``q`` 不对；按条件的一张也没有。
    """
    body = call.body
    if body.preview is not None:
        return changes.decode(body.preview)
    if body.change is None or body.reason is None:  # 请求体校验过了
        raise invalid("change", "必给", "required")
    if body.filter is None:
        iccids, limited = tuple(dict.fromkeys(body.iccids or ())), False
    else:
        iccids, limited = await changes.chosen(
            await call.unit.connection(), await _filter(call, body.filter), body.limit
        )
    if not iccids:
        raise invalid("filter", "一张卡也没有选中", "no card matches")
    return Wanted(body.change, body.reason, iccids, body.plan, body.schedule_at, limited)


async def _filter(call: Call[ChangeRequest, None], given: ChangeFilter) -> SimFilter:
    found = None if given.q is None else await find(await call.unit.raw(), texts_of(given.q))
    named = given.model_dump(exclude={"q"})
    return SimFilter(**named, ids=None if found is None else found.ids)


def _preview(planned: Planned, language: str) -> ChangedView:
    wanted, cards, refused = planned.wanted, planned.changing, planned.refused
    refusals = [{"iccid": iccid, "code": why.code, "reason": why.text(language)} for iccid, why in refused]
    said = {"dry_run": True, "change": wanted.change, "plan": wanted.plan, "limited": wanted.limited}
    shown = {"cards": [asdict(verdict.card) for verdict in cards], "refusals": refusals}
    counted = {"accepted": len(cards), "refused": len(refused), "preview": changes.encode(planned)}
    return ChangedView.model_validate(said | shown | counted)


@endpoint(
    "GET",
    PATH + "/{change:int}",
    scope=READ,
    summary="一次变更，与每张卡的回执",
    tag=TAG,
    data=ChangeView,
    example=examples.CHANGE,
    csv=examples.CHANGE_CSV,
    errors=(Code.NOT_FOUND,),
)
async def get_sim_change(call: Call[None, None]) -> Answer | web.Response:
    """`Accept: text/csv` 得到回执的表格，一张卡一行。"""
    row, found = await changes.get(await call.unit.raw(), call.number("change"))
    if wants_csv(call.request):
        text = BOM + receipts.receipt_file(row, found, call.language)
        return web.Response(text=text, content_type=MEDIA_TYPE, charset="utf-8")
    shown = [receipts.told(row, receipt, call.language) for receipt in found]
    return Answer(ChangeView.model_validate({**asdict(row), "counts": changes.counts(found), "receipts": shown}))


@endpoint(
    "GET",
    ITEM + "/changes",
    scope=READ,
    summary="一张卡的变更，新的在前",
    tag=TAG,
    query=CardChangeQuery,
    data=CardChangeList,
    example=examples.CARD_CHANGES,
    errors=(Code.NOT_FOUND,),
)
async def list_card_changes(call: Call[None, CardChangeQuery]) -> Answer:
    size, cursor = call.query.page_size, call.query.cursor
    before = history.NEWEST if cursor is None else decode_cursor(cursor).id
    iccids = await service.numbers_of(await call.unit.connection(), call.text("iccid"))
    rows = await changes.of_card(await call.unit.raw(), iccids, size + 1, before)
    kept = rows[:size]
    more = encode_cursor(Position(kept[-1].receipt_id)) if len(rows) > size else None
    items = [{**asdict(one.row), "receipt": receipts.told(one.row, one.receipt, call.language)} for one in kept]
    return Answer(CardChangeList.model_validate({"items": items, "page_size": size, "next_cursor": more}))


ROUTES: tuple[Endpoint, ...] = (change_sims, get_sim_change, list_card_changes)
