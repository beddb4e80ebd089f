"""什么时候红过、红了多久：判断的历史，按时间段看。"""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.tasks import moment_of, one_of
from api.endpoints.binding import POSITIVE
from kaguan.database.paging import BIGINT_MAX
from kaguan.verdict import history
from kaguan.verdict.model import ConcernCode
from kaguan.verdict.wording import Wording

PATH = "/console/verdict"
PAGE = 50
FIELDS = ("code", "since", "until")


async def verdict_history(console: ConsoleRequest) -> web.Response:
    query, zone = console.request.query, console.services.settings.zone
    given = {name: query.get(name, "").strip() for name in FIELDS}
    wrong: list[str] = []
    code = one_of(given, "code", ConcernCode, wrong)
    since, until = moment_of(given, "since", zone, wrong), moment_of(given, "until", zone, wrong)
    cursor = query.get("before", "")
    before = min(int(cursor), BIGINT_MAX) if POSITIVE.fullmatch(cursor) else BIGINT_MAX
    async with console.services.pool.connection() as connection:
        found = await history.page(connection, PAGE + 1, before, since, until, ConcernCode(code) if code else None)
    rows, words = found[:PAGE], console.formatter
    wording = Wording(console.language, words.word)
    kept = {name: value for name, value in given.items() if value}
    return console.render(
        "verdict.html",
        rows=[(row, words.shown(wording.text(row.concern))) for row in rows],
        codes=sorted(ConcernCode),
        given=given,
        wrong=wrong,
        paged=before != BIGINT_MAX,
        newest=f"{PATH}?{urlencode(kept)}",
        older=f"{PATH}?{urlencode({**kept, 'before': rows[-1].id})}" if len(found) > PAGE else None,
    )
