"""在运营商那里改卡：勾选的，或筛选的全部；先看谁会改、谁不会，写明缘由再确认；之后看每张的回执。"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qsl

from aiohttp import web

from api.console.cards import PATH, Asked, require_cards
from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission
from api.console.uploads import Upload
from api.http.exporting import reading
from kaguan.audit.actions import SIM_CHANGE
from kaguan.audit.store import AuditEntry
from kaguan.carriers.build import change_limits
from kaguan.database.engine import driver_of
from kaguan.database.paging import BIGINT_MAX
from kaguan.sims import changes, receipts
from kaguan.sims.change_rules import TARGETS
from kaguan.sims.changes import CARDS_MAX, REASON_MAX, Asker, Wanted
from kaguan.sims.labels import LABEL_MAX, UNTIDY, is_tidy
from kaguan.sims.vocabulary import Change, ReceiptStatus
from kaguan.words.errors import Code, DomainError, invalid, not_found
from kaguan.words.spreadsheet import BOM, MEDIA_TYPE

CHANGES = f"{PATH}/changes"
SHOWN, EXAMPLES = 100, 20  # 不会改的、回执至多列这么多张；会改的列几张看看样子
EVERY = "filter"  # 选的是筛选的全部，不是勾选的


async def preview_change(upload: Upload) -> web.Response:
    """谁会改、谁不会、为什么；什么也不动。"""
    console = upload.console
    try:
        change, plan = _asked(upload)
        wanted, missing = await _wanted(upload, change, plan)
        async with console.services.pool.connection() as connection:
            planned = await changes.preview(connection, wanted, change_limits(console.services.settings.carriers))
    except DomainError as error:
        if error.code != Code.INVALID_PARAMETERS:
            raise
        return console.render("sims_change.html", planned=None, refusal=error.fields[0].render(console.language))
    return console.render(
        "sims_change.html",
        planned=planned,
        wanted=wanted,
        missing=missing,
        target=TARGETS.get(change),
        shown=SHOWN,
        examples=EXAMPLES,
        refusal=None,
        token=changes.encode(planned) if planned.changing else "",
        reason_max=REASON_MAX,
        most=CARDS_MAX,
    )


async def run_change(submission: FormSubmission) -> ActionResult:
    """受理看到的那些；同一次预览再交一次，是同一次变更。"""
    token, reason = submission.form.get("selection", ""), submission.form.get("reason", "").strip()
    if not 1 <= len(reason) <= REASON_MAX:
        raise invalid("reason", f"写 1 到 {REASON_MAX} 个字", f"write 1 to {REASON_MAX} characters")
    wanted = replace(changes.decode(token), reason=reason)
    services = submission.console.services
    asker = Asker(submission.actor, f"console:{hashlib.sha256(token.encode()).hexdigest()}", {"reason": reason})
    limits, count = change_limits(services.settings.carriers), services.metrics.count_accepted
    done = await changes.accept(submission.connection, wanted, asker, limits, submission.after_commit, count)
    detail = {"change": wanted.change, "accepted": done.accepted, "refused": done.refused, "via": "console"}
    entry = AuditEntry(SIM_CHANGE, str(done.id), detail)
    return ActionResult(entry, "changing", f"{CHANGES}/{done.id}", done.accepted, ring=True, skipped=done.refused)


async def change_page(console: ConsoleRequest) -> web.Response:
    return await _shown(console, "sim_change.html")


async def live_change(console: ConsoleRequest) -> web.Response:
    return await _shown(console, "sim_change_live.html")


async def export_receipts(console: ConsoleRequest) -> web.StreamResponse:
    require_cards(console)
    async with console.services.pool.connection() as connection:
        row, found = await changes.get(connection, _number(console))
    text = BOM + receipts.receipt_file(row, found, console.language)
    disposition = {"Content-Disposition": f'attachment; filename="receipts-{row.id}.csv"'}
    return web.Response(text=text, content_type=MEDIA_TYPE, charset="utf-8", headers=disposition)


async def _shown(console: ConsoleRequest, template: str) -> web.Response:
    require_cards(console)
    async with console.services.pool.connection() as connection:
        row, found = await changes.get(connection, _number(console))
    # 要人定论的在最前，做完的在最后
    order = [ReceiptStatus.UNCERTAIN, ReceiptStatus.FAILED, ReceiptStatus.REFUSED, ReceiptStatus.PENDING]
    found.sort(key=lambda one: order.index(ReceiptStatus(one.status)) if one.status in order else len(order))
    counts = changes.counts(found)
    return console.render(
        template,
        change=row,
        receipts=found[:SHOWN],
        left_out=max(0, len(found) - SHOWN),
        counts=counts,
        statuses=list(ReceiptStatus),
        doubts=[one for one in found if one.status == ReceiptStatus.UNCERTAIN],
        settled=not counts[ReceiptStatus.PENDING] and not counts[ReceiptStatus.UNCERTAIN],
    )


def _number(console: ConsoleRequest) -> int:
    text = console.request.match_info["change"]
    if not (text.isascii() and text.isdigit() and len(text) < len(str(BIGINT_MAX))):
        raise not_found("变更", "change")
    return int(text)


def _asked(upload: Upload) -> tuple[Change, str | None]:
    """要改什么。

    Raises:
        DomainError: 1001，没有选，或换套餐没有写套餐。
    """
    given, plan = upload.text("change"), upload.text("new_plan")
    if given not in set(Change):
        raise invalid("change", "选一样要改的", "choose what to change")
    change = Change(given)
    if change is not Change.PLAN:
        return change, None
    if not plan or len(plan) > LABEL_MAX:
        raise invalid("plan", f"写 1 到 {LABEL_MAX} 个字", f"write 1 to {LABEL_MAX} characters")
    if not is_tidy(plan):
        raise invalid("plan", *UNTIDY)
    return change, plan


async def _wanted(upload: Upload, change: Change, plan: str | None) -> tuple[Wanted, list[str]]:
    """点名了谁，与没有对上的号码。

    Raises:
        DomainError: 1001，一张也没有选中，或太多。
    """
    make = partial(Wanted, change, "", plan=plan)
    if upload.text("whom") != EVERY:
        iccids = tuple(dict.fromkeys(upload.text("iccid").split()))
        if not iccids:
            raise invalid("iccids", "一张也没有勾选", "no card is ticked")
        return make(iccids), []
    asked = Asked.of(dict(parse_qsl(upload.text("filter"))))
    if asked.wrong or not asked.kept:  # 看不懂的不能当作没给：会改到别的卡
        raise invalid("filter", "先筛选，再改选出来的", "filter first, then change what is found")
    async with reading(upload.console.request) as connection:
        found = await asked.found(await driver_of(connection))
        iccids, limited = await changes.chosen(connection, asked.filter(found), CARDS_MAX)
    if not iccids:
        raise invalid("filter", "一张卡也没有选中", "no card matches")
    return make(iccids, limited=limited), [] if found is None else found.missing
