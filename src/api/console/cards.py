"""卡：按任一种号码的一段找，看一张卡的全部，马上刷新。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.formatting import Formatter
from api.console.serve import ActionResult, FormSubmission
from api.console.tasks import one_of
from api.http.exporting import reading, send_csv
from kaguan.audit.actions import SIM_REFRESH
from kaguan.audit.store import AuditEntry
from kaguan.database.engine import driver_of
from kaguan.database.paging import Page, PageRequest, decode_cursor
from kaguan.database.pool import Connection
from kaguan.sims import changes, exporting, history, service, sheet, store
from kaguan.sims.refreshing import refresh
from kaguan.sims.search import QUERY_MAX, Found, find, texts_of
from kaguan.sims.service import Month
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState
from kaguan.tokens.service import SIMS_READ
from kaguan.words.errors import Code, DomainError
from kaguan.words.spreadsheet import BOM, kept_whole
from kaguan.words.zones import business_today

PATH = "/console/sims"
PAGE = 50
HISTORY = 20
NAMES = ("plan", "group", "tag", "customer")
MAX_NAME = 64
# 说成读者的话的那几列
WORDS = {
    "carrier": "carrier",
    "lifecycle_state": "lifecycle",
    "old_state": "lifecycle",
    "new_state": "lifecycle",
    "suspend_reason": "suspended",
    "session_state": "session",
    "source": "carrier",
}
BAR, HIGH = 10, 60  # 图的坐标：一天多宽，最高多高


@dataclass(frozen=True, slots=True)
class Bar:
    """图上的一天；没有记录的没有高度。"""

    day: str
    x: int
    y: float
    height: float
    data_bytes: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """地址里的条件：照收到的（回显），与看得懂的；``wrong`` 是看不懂的字段名。"""

    given: Mapping[str, str]
    carrier: Carrier | None
    state: LifecycleState | None
    names: Mapping[str, str | None]
    wrong: list[str]

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        given = {name: query.get(name, "").strip() for name in ("q", "carrier", "state", *NAMES)}
        wrong: list[str] = []
        carrier = one_of(given, "carrier", Carrier, wrong)
        state = one_of(given, "state", LifecycleState, wrong)
        names = {name: given[name][:MAX_NAME] or None for name in NAMES}
        return cls(
            given,
            None if carrier is None else Carrier(carrier),
            None if state is None else LifecycleState(state),
            names,
            wrong,
        )

    @property
    def kept(self) -> dict[str, str]:
        return {name: value for name, value in self.given.items() if value}

    async def found(self, driver: Connection) -> Found | None:
        """按号码找到的；没有给号码就是 None。"""
        return await find(driver, texts_of(self.given["q"][:QUERY_MAX])) if self.given["q"] else None

    def filter(self, found: Found | None) -> store.SimFilter:
        ids = None if found is None else found.ids
        return store.SimFilter(self.carrier, self.state, ids=ids, **self.names)


async def card_list(console: ConsoleRequest) -> web.Response:
    require_cards(console)
    asked = Asked.of(console.request.query)
    cursor = console.request.query.get("cursor")
    page: Page[store.SimRow] = Page([], 0, total_estimated=False, next_cursor=None)
    usage: Mapping[str, tuple[int, int]] = {}
    missing: list[str] = []
    refusal = ""
    async with reading(console.request) as connection:
        driver = await driver_of(connection)
        try:
            request = PageRequest(page_size=PAGE, after=None if cursor is None else decode_cursor(cursor))
            found = await asked.found(driver)
        except DomainError as error:
            if error.code != Code.INVALID_PARAMETERS:
                raise
            refusal = error.fields[0].render(console.language)["reason"]
        else:
            page = await store.list_sims(connection, request, asked.filter(found))
            missing = [] if found is None else found.missing
            today = business_today()
            iccids = [row.iccid for row in page.items]
            usage = await history.usage_totals(driver, iccids, today.replace(day=1), today)
    kept = asked.kept
    older = None if page.next_cursor is None else f"{PATH}?{urlencode({**kept, 'cursor': page.next_cursor})}"
    return console.render(
        "sims.html",
        page=page, given=asked.given, names=NAMES, narrowed=any(asked.names.values()), wrong=asked.wrong,
        carriers=list(Carrier), states=list(LifecycleState),
        refusal=refusal, missing=missing, usage=usage, paged=cursor is not None, older=older,
        newest=f"{PATH}?{urlencode(kept)}", export=f"{PATH}/export?{urlencode(kept)}", kept=urlencode(kept),
        changes=list(Change),
    )  # fmt: skip


async def export_cards(console: ConsoleRequest) -> web.StreamResponse:
    """列表的条件选中的全部，给表格软件看：列名、状态用读者的语言，长号码当文本。"""
    require_cards(console)
    asked = Asked.of(console.request.query)
    async with reading(console.request) as connection:
        found = await asked.found(await driver_of(connection))
    pages = exporting.cards(partial(reading, console.request), PageRequest(), asked.filter(found))
    return await _download(console, "cards", sheet.CARD, pages)


async def export_events(console: ConsoleRequest) -> web.StreamResponse:
    require_cards(console)
    async with reading(console.request) as connection:
        iccids = await service.numbers_of(connection, console.request.match_info["iccid"])
    pages = exporting.events(partial(reading, console.request), iccids)
    return await _download(console, "events", sheet.EVENT, pages)


async def _download(
    console: ConsoleRequest, name: str, columns: Sequence[sheet.Column], pages: AsyncIterator[Sequence[object]]
) -> web.StreamResponse:
    titles = sheet.titles(columns, console.language)
    token = 0 if console.session is None else console.session.principal.id
    said = partial(_said, console.formatter, columns)
    return await send_csv(console.request, token, name, titles, pages, said, start=BOM)


def _said(formatter: Formatter, columns: Sequence[sheet.Column], row: object) -> list[object]:
    """一行说给人看。"""
    return [_cell(formatter, column.name, getattr(row, column.name)) for column in columns]


def _cell(formatter: Formatter, name: str, value: object) -> object:
    match value:
        case str() if name in WORDS:
            return formatter.word(WORDS[name], value)
        case str() if value.isdigit():
            return kept_whole(value)
        case datetime():
            return value.astimezone(formatter.zone).replace(tzinfo=None, microsecond=0)
        case _:
            return value


async def card_page(console: ConsoleRequest) -> web.Response:
    require_cards(console)
    return console.render("sim.html", **await _context(console))


async def live_card(console: ConsoleRequest) -> web.Response:
    require_cards(console)
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
    async with reading(console.request) as connection:
        card = await service.get_card(connection, console.request.match_info["iccid"])
        driver = await driver_of(connection)
        events = await history.events(driver, card.iccids, HISTORY)
        tasks = await history.tasks(driver, card.sim.id, card.iccids, HISTORY)
        changed = await changes.of_card(driver, card.iccids, HISTORY)
    shown = {"card": card, "sim": card.sim, "events": events, "tasks": tasks, "changed": changed}
    return {**shown, "bars": bars(card.month), "changes": list(Change)}


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


def require_cards(console: ConsoleRequest) -> None:
    """卡与客户、号码连着：能操作的看得，只看的人还要有 ``sims:read``。

    Raises:
        DomainError: 1003。
    """
    if console.session is not None and not console.may_see_cards:
        console.session.principal.require(SIMS_READ)
