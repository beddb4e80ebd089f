"""卡：按任一种号码的一段找，看一张卡的全部，马上刷新。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission
from api.console.tasks import one_of
from kaguan.audit.actions import SIM_REFRESH
from kaguan.audit.store import AuditEntry
from kaguan.database.engine import driver_of
from kaguan.database.paging import Page, PageRequest, decode_cursor
from kaguan.sims import history, service, store
from kaguan.sims.refreshing import refresh
from kaguan.sims.search import QUERY_MAX, Found, find, texts_of
from kaguan.sims.service import Month
from kaguan.sims.vocabulary import Carrier, LifecycleState
from kaguan.tokens.service import SIMS_READ
from kaguan.words.errors import Code, DomainError
from kaguan.words.zones import business_today

PATH = "/console/sims"
PAGE = 50
HISTORY = 20
NAMES = ("plan", "group", "tag", "customer")
MAX_NAME = 64
BAR, HIGH = 10, 60  # 图的坐标：一天多宽，最高多高


@dataclass(frozen=True, slots=True)
class Bar:
    """图上的一天；没有记录的没有高度。"""

    day: str
    x: int
    y: float
    height: float
    data_bytes: int | None


async def card_list(console: ConsoleRequest) -> web.Response:
    _require(console)
    query = console.request.query
    given = {name: query.get(name, "").strip() for name in ("q", "carrier", "state", *NAMES)}
    wrong: list[str] = []
    where = {name: given[name][:MAX_NAME] or None for name in NAMES}
    carrier = one_of(given, "carrier", Carrier, wrong)
    state = one_of(given, "state", LifecycleState, wrong)
    cursor = query.get("cursor")
    page: Page[store.SimRow] = Page([], 0, total_estimated=False, next_cursor=None)
    usage: Mapping[str, tuple[int, int]] = {}
    missing: list[str] = []
    refusal = ""
    async with _reading(console) as connection:
        driver = await driver_of(connection)
        try:
            request = PageRequest(page_size=PAGE, after=None if cursor is None else decode_cursor(cursor))
            found = await find(driver, texts_of(given["q"][:QUERY_MAX])) if given["q"] else None
        except DomainError as error:
            if error.code != Code.INVALID_PARAMETERS:
                raise
            refusal = error.fields[0].render(console.language)["reason"]
        else:
            page, missing = await _listed(connection, request, found, carrier, state, where)
            today = business_today()
            iccids = [row.iccid for row in page.items]
            usage = await history.usage_totals(driver, iccids, today.replace(day=1), today)
    kept = {name: value for name, value in given.items() if value}
    older = None if page.next_cursor is None else f"{PATH}?{urlencode({**kept, 'cursor': page.next_cursor})}"
    return console.render(
        "sims.html",
        page=page, given=given, names=NAMES, carriers=list(Carrier), states=list(LifecycleState), wrong=wrong,
        refusal=refusal, missing=missing, usage=usage, paged=cursor is not None, older=older,
        newest=f"{PATH}?{urlencode(kept)}",
    )  # fmt: skip


async def _listed(
    connection: AsyncConnection,
    request: PageRequest,
    found: Found | None,
    carrier: str | None,
    state: str | None,
    names: Mapping[str, str | None],
) -> tuple[Page[store.SimRow], list[str]]:
    wanted = store.SimFilter(
        None if carrier is None else Carrier(carrier),
        None if state is None else LifecycleState(state),
        ids=None if found is None else found.ids,
        **names,
    )
    page = await store.list_sims(connection, request, wanted)
    return page, [] if found is None else found.missing


async def card_page(console: ConsoleRequest) -> web.Response:
    _require(console)
    return console.render("sim.html", **await _context(console))


async def live_card(console: ConsoleRequest) -> web.Response:
    _require(console)
    return console.render("sim_live.html", **await _context(console))


async def refresh_card(submission: FormSubmission) -> ActionResult:
    services = submission.console.services
    attempts, count = services.settings.tasks.max_attempts, services.metrics.count_accepted
    done = await refresh(
        submission.connection, submission.path["iccid"], submission.actor, attempts, submission.after_commit, count
    )
    entry = AuditEntry(SIM_REFRESH, done.iccid, {"task_id": str(done.accepted.task_id), "via": "console"})
    return ActionResult(entry, "refreshing", submission.back, ring=True)


async def _context(console: ConsoleRequest) -> dict[str, Any]:
    async with _reading(console) as connection:
        card = await service.get_card(connection, console.request.match_info["iccid"])
        driver = await driver_of(connection)
        events = await history.events(driver, card.iccids, HISTORY)
        tasks = await history.tasks(driver, card.sim.id, card.iccids, HISTORY)
    return {"card": card, "sim": card.sim, "events": events, "tasks": tasks, "bars": bars(card.month)}


def bars(month: Month) -> list[Bar]:
    """本月到今天，一天一条；最高的那天顶到头。"""
    top = max((data for data, _ in month.days.values()), default=0) or 1
    found = []
    for number in range(1, month.today.day + 1):
        day = month.start.replace(day=number)
        data = month.days[day][0] if day in month.days else None
        height = round(max(1.5, (data or 0) / top * HIGH), 1) if data else 0.0
        found.append(Bar(day.isoformat(), (number - 1) * BAR, HIGH - height, height, data))
    return found


@asynccontextmanager
async def _reading(console: ConsoleRequest) -> AsyncIterator[AsyncConnection]:
    """一句一读，不开事务。"""
    async with console.services.engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


def _require(console: ConsoleRequest) -> None:
    """卡与客户、号码连着：能操作的看得，只看的人还要有 ``sims:read``。

    Raises:
        DomainError: 1003。
    """
    if console.session is not None and not console.may_see_cards:
        console.session.principal.require(SIMS_READ)
