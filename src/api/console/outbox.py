"""发件箱与 relay：每个队列的积压、搁置的毒丸、已交出的重投。"""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission, number_of
from api.console.snapshots import SNAPSHOTS
from kaguan.audit.actions import OUTBOX_REDRIVE
from kaguan.audit.store import AuditEntry
from kaguan.outbox.recover import store
from kaguan.outbox.vocabulary import Priority, PriorityRank
from kaguan.verdict import queries
from kaguan.words.errors import Code, DomainError
from kaguan.words.units import DAY

PATH = "/console/outbox"
PARKED_SHOWN = 50
REDRIVE_PAGE = 1_000  # 一次至多重投这么多：一个短事务
DEFAULT_AGE = 60  # 秒
MAX_AGE = DAY
CAUSE = "operator"


async def outbox(console: ConsoleRequest) -> web.Response:
    snapshot, _ = await console.request.app[SNAPSHOTS].look()
    if snapshot is None:
        raise DomainError(Code.DATABASE_UNAVAILABLE)
    async with console.services.pool.connection() as connection:
        parked = await queries.parked_rows(connection, PARKED_SHOWN)
    return console.render(
        "outbox.html",
        s=snapshot, parked=parked, shown=PARKED_SHOWN, queues=list(Priority), cap=queries.COUNT_CAP,
        high_water=console.services.settings.relay.high_water, default_age=DEFAULT_AGE, max_age=MAX_AGE,
        page=REDRIVE_PAGE, queue_of=lambda rank: PriorityRank(rank).queue,
    )  # fmt: skip


async def redrive(submission: FormSubmission) -> ActionResult:
    """交出 ``older`` 秒还没有开始的，换新投递号重投；旧的投递作废，不会做两遍。"""
    older = number_of(submission.form, "older", DEFAULT_AGE, 0, MAX_AGE)
    moment = (await queries.totals(submission.connection)).now - timedelta(seconds=older)
    lost = await store.lost_epoch(submission.connection, moment, REDRIVE_PAGE)
    count = await store.redrive(submission.connection, lost, CAUSE)
    notice = "redriven_more" if len(lost) == REDRIVE_PAGE else "redriven"
    entry = AuditEntry(OUTBOX_REDRIVE, None, {"older": older, "count": count, "via": "console"})
    return ActionResult(entry, notice, PATH, count, ring=True)
