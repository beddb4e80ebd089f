"""``/api/v1/audit``：谁、何时、对什么做了什么、成没成。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Paging
from api.endpoints.negotiation import wants_csv
from api.endpoints.shapes import Moment, View
from api.endpoints.unit_of_work import Mode
from api.http.exporting import send_csv
from api.openapi import examples
from kaguan.audit import exporting, reading
from kaguan.audit.reading import NAME_MAX, AuditFilter, AuditRow
from kaguan.audit.service import in_language
from kaguan.database.paging import Sort, decode_cursor, encode_cursor
from kaguan.tokens.service import OPERATE

TAG = "audit"
PATH = "/api/v1/audit"
ORDER = Sort.CREATED_LAST
Name = Annotated[str, Field(min_length=1, max_length=NAME_MAX)]


class AuditView(View):
    """一行审计；`detail` 里有什么随动作而定，`reason` 用读者的语言。"""

    id: int
    at: datetime
    actor: str
    action: str
    target: str | None
    outcome: Literal["ok", "refused", "failed"]
    request_id: str | None
    detail: dict[str, Any]


class AuditQuery(Paging):
    """条件一起成立。"""

    actor: Name | None = Field(None, description="谁：令牌的名字，命令行的是 `cli:用户名`")
    action: Name | None = Field(None, description="做了什么，如 `task.cancel`")
    target: Name | None = Field(None, description="对象（任务号、ICCID、名字……）里的一段字")
    since: Moment | None = Field(None, description="不早于（含），RFC 3339")
    until: Moment | None = Field(None, description="早于（不含），RFC 3339")

    def wanted(self) -> AuditFilter:
        return AuditFilter(self.actor, self.action, self.target, self.since, self.until)


class AuditList(View):
    """新的在前。条件少见时一页可能不满、甚至是空的：`next_cursor` 为 null 才到头。"""

    items: list[AuditView]
    page_size: int
    next_cursor: str | None


@endpoint(
    "GET",
    PATH,
    scope=OPERATE,
    summary="操作的审计，新的在前",
    tag=TAG,
    query=AuditQuery,
    data=AuditList,
    mode=Mode.DIRECT,
    example=examples.AUDIT,
    csv=examples.AUDIT_CSV,
)
async def list_audit(call: Call[None, AuditQuery]) -> Answer | web.StreamResponse:
    """`Accept: text/csv` 得到符合条件的全部，`detail` 一格是 JSON。"""
    query, language = call.query, call.language
    if wants_csv(call.request):
        await call.unit.release()
        pages = exporting.entries(call.services.pool.connection, query.wanted())

        def cells(row: AuditRow) -> list[object]:
            shown = exporting.as_text(in_language(row.detail, language))
            return [shown if name == "detail" else getattr(row, name) for name in exporting.COLUMNS]

        return await send_csv(call.request, call.principal.id, "audit", exporting.COLUMNS, pages, cells)
    before = None if query.cursor is None else decode_cursor(query.cursor, ORDER)
    rows, older = await reading.page(await call.unit.raw(), query.wanted(), query.page_size, before)
    items = [
        {**{name: getattr(row, name) for name in exporting.COLUMNS}, "detail": in_language(row.detail, language)}
        for row in rows
    ]
    more = None if older is None else encode_cursor(older, ORDER)
    return Answer({"items": items, "page_size": query.page_size, "next_cursor": more})


ROUTES: tuple[Endpoint, ...] = (list_audit,)
