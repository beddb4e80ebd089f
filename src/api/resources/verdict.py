"""``/api/v1/verdict``：判断的历史。此刻的判断在 ``/health``。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from api.console.verdicts import impersonal
from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import DEFAULT_PAGE_SIZE, OF_CURSOR
from api.endpoints.shapes import Choice, Moment, PageSize, QueryId, QueryModel, View
from api.endpoints.unit_of_work import Mode
from api.openapi import running_examples as examples
from api.resources.holders import TAG
from kaguan.database.paging import BIGINT_MAX
from kaguan.tokens.service import LOOK
from kaguan.verdict import history
from kaguan.verdict.history import Episode
from kaguan.verdict.model import ConcernCode
from kaguan.verdict.wording import Wording

PATH = "/api/v1/verdict"


class HistoryQuery(QueryModel):
    """新的在前；碰到 ``since`` 与 ``until`` 之间的都算，一直没有结束的也算。"""

    page_size: PageSize = DEFAULT_PAGE_SIZE
    cursor: QueryId | None = Field(None, description=OF_CURSOR)
    code: Annotated[Choice[ConcernCode] | None, Field(description="只要这一种")] = None
    since: Moment | None = Field(None, description="结束得不早于它，RFC 3339")
    until: Moment | None = Field(None, description="起于它之前，RFC 3339")


class EpisodeView(View):
    """一件事的始末：``level`` 是最重的时候；``seconds`` 从起到最后看见；``ended_at`` 为 null 即还没有结束。"""

    id: int
    code: str
    subject: str
    level: Literal["warn", "bad"]
    text: str
    parameters: dict[str, str | int | float | None]
    since: datetime
    first_seen: datetime
    last_seen: datetime
    ended_at: datetime | None
    seconds: float


class HistoryView(View):
    items: list[EpisodeView]
    page_size: int
    next_cursor: int | None


@endpoint(
    "GET",
    PATH + "/history",
    scope=LOOK,
    summary="什么时候红过、红了多久",
    tag=TAG,
    query=HistoryQuery,
    data=HistoryView,
    mode=Mode.DIRECT,
    example=examples.HISTORY,
)
async def get_history(call: Call[None, HistoryQuery]) -> Answer:
    """记在 PostgreSQL 里，没有人看着的时候也记；留到保留期为止。个人信息遮住。"""
    query = call.query
    before = query.cursor or BIGINT_MAX
    found = await history.page(await call.unit.raw(), query.page_size + 1, before, query.since, query.until, query.code)
    rows = found[: query.page_size]
    items = [shown(row, call.language) for row in rows]
    older = rows[-1].id if len(found) > query.page_size else None
    return Answer({"items": items, "page_size": query.page_size, "next_cursor": older})


def shown(row: Episode, language: str) -> dict[str, Any]:
    """:class:`EpisodeView`。"""
    wording, concern = Wording(language), row.concern
    return {
        "id": row.id,
        "code": row.code,
        "subject": impersonal(row.subject),
        "level": row.level,
        "text": impersonal(wording.text(concern)),
        "parameters": {name: impersonal(value) for name, value in wording.parameters(concern).items()},
        "since": row.since,
        "first_seen": row.first_seen,
        "last_seen": row.last_seen,
        "ended_at": row.ended_at,
        "seconds": row.seconds,
    }


ROUTES: tuple[Endpoint, ...] = (get_history,)
