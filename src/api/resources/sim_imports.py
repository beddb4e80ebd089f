"""``POST /api/v1/sims/imports``：从 CSV 登记卡，先试运行。"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field, model_validator

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.negotiation import wants_csv
from api.endpoints.reasons import reason
from api.endpoints.shapes import Choice, RequestModel, View
from api.http.middleware.deadline import DEADLINE
from api.openapi import examples
from api.resources.audit import audited
from api.resources.sims import COLLECTION, TAG
from kaguan.audit.actions import SIM_REGISTER
from kaguan.sims import importing
from kaguan.sims.importing import FILE_MAX, LINES_MAX, PREVIEW_MAX, TIME_LIMIT, Imported, ImportedLine, Outcome
from kaguan.sims.vocabulary import Carrier
from kaguan.tokens.service import SIMS_WRITE as WRITE
from kaguan.words.errors import invalid
from kaguan.words.spreadsheet import MEDIA_TYPE
from kaguan.words.units import KIB, MIB

ENCODED_MAX = (FILE_MAX + 2) // 3 * 4


class SimImport(RequestModel):
    """一份 CSV；`dry_run` 默认为真，先看每一行会怎样。

    要只登记看到的那些新卡：交回试运行给的 `preview`，别的不再给。
    """

    content_base64: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=ENCODED_MAX,
                description=f"文件的 base64；至多 {FILE_MAX // MIB} MiB、{LINES_MAX:,} 行。UTF-8 或 GB18030，"
                "逗号、分号或制表符分隔，首行是列名（与卡的字段同名，或中文）",
            ),
        ]
        | None
    ) = None
    carrier: Choice[Carrier] | None = Field(None, description="没写运营商的行用它")
    preview: Annotated[str, Field(min_length=1, max_length=PREVIEW_MAX, description="试运行给的凭据")] | None = None
    dry_run: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = self.model_fields_set - {"dry_run"}
        if self.preview is not None and (self.dry_run or given != {"preview"}):
            raise reason(
                "给了 preview 就只再给 dry_run: false，要登记的都在其中",
                "with preview give only dry_run: false; it holds the cards",
            )
        if self.preview is None and self.content_base64 is None:
            raise reason("给 content_base64 或 preview", "give content_base64 or preview")
        return self


class LineFault(View):
    """一行里的一处不对。"""

    field: str
    reason: str


class ImportedLineView(View):
    """一行：`new` 新登记的（试运行时是会登记的）、`existing` 已在库不动的、`invalid` 不合格的。

    `luhn_valid` 为假只是提醒：校验位不对，但照样登记。
    """

    line: int
    iccid: str
    outcome: Outcome
    luhn_valid: bool | None
    errors: list[LineFault]


class ImportView(View):
    """逐行的答复与各种的行数；试运行有新卡时带着 `preview`。"""

    dry_run: bool
    new: int
    existing: int
    invalid: int
    items: list[ImportedLineView]
    preview: str | None


@endpoint(
    "POST",
    f"{COLLECTION}/imports",
    scope=WRITE,
    summary="从 CSV 登记卡：先试运行，逐行回答",
    tag=TAG,
    body=SimImport,
    body_limit=PREVIEW_MAX + KIB,
    data=ImportView,
    idempotent=False,  # 再做一遍，登记过的都是已有的
    body_example=examples.SIM_IMPORT_IN,
    example=examples.SIM_IMPORT,
    csv=examples.SIM_IMPORT_CSV,
)
async def import_sims(call: Call[SimImport, None]) -> Answer | web.Response:
    """`Accept: text/csv` 得到错误文件：不合格的各行照原样，后面是行号与原因，改好了直接再导入。"""
    call.request[DEADLINE].allow(TIME_LIMIT)
    body = call.body
    connection = await call.unit.raw()
    if body.preview is None:
        found = await importing.preview(connection, _content(body.content_base64 or ""), body.carrier)
        planned = found.planned
    else:
        planned = importing.decode(body.preview)
        found = Imported([])
    if not body.dry_run:
        done = await importing.run(connection, planned, call.unit.after_commit)
        found = importing.merged(found, done)
        if found.count(Outcome.NEW):
            await audited(call, SIM_REGISTER, count=found.count(Outcome.NEW), lines=len(found.lines))
    if wants_csv(call.request):
        text = importing.error_file(found, call.language)
        return web.Response(text=text, content_type=MEDIA_TYPE, charset="utf-8")
    preview = importing.encode(planned) if body.dry_run and planned else None
    return Answer(_view(found, preview, call.language, dry_run=body.dry_run))


def _content(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise invalid(importing.FIELD, "不是 base64", "not base64") from None


def _view(found: Imported, preview: str | None, language: str, *, dry_run: bool) -> ImportView:
    return ImportView(
        dry_run=dry_run,
        new=found.count(Outcome.NEW),
        existing=found.count(Outcome.EXISTING),
        invalid=found.count(Outcome.INVALID),
        items=[_line_view(line, language) for line in found.lines],
        preview=preview,
    )


def _line_view(line: ImportedLine, language: str) -> ImportedLineView:
    return ImportedLineView(
        line=line.line,
        iccid=line.iccid,
        outcome=line.outcome,
        luhn_valid=line.luhn_valid,
        errors=[LineFault(**error.render(language)) for error in line.errors],
    )


ROUTES: tuple[Endpoint, ...] = (import_sims,)
