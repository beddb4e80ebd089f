"""从表格登记卡：交上来，看每一行会怎样，确认了只登记看到的那些新卡。"""

from __future__ import annotations

import base64

from aiohttp import web

from api.console.cards import PATH
from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission
from api.console.uploads import Upload
from api.http.middleware.deadline import DEADLINE
from kaguan.audit.actions import SIM_REGISTER
from kaguan.audit.store import AuditEntry
from kaguan.sims import importing, sheet
from kaguan.sims.importing import FILE_MAX, LINES_MAX, TIME_LIMIT, Imported, Outcome
from kaguan.sims.vocabulary import Carrier
from kaguan.words import spreadsheet
from kaguan.words.errors import Code, DomainError
from kaguan.words.spreadsheet import BOM, MEDIA_TYPE
from kaguan.words.units import MIB

IMPORT = f"{PATH}/import"
SHOWN = 100  # 不合格的至多列这么多行，其余在错误文件里


async def import_page(console: ConsoleRequest) -> web.Response:
    return _page(console)


async def preview_import(upload: Upload) -> web.Response:
    """文件与粘贴的文字，有文件就看文件。"""
    console, given = upload.console, upload.text("carrier")
    carrier = Carrier(given) if given in set(Carrier) else None
    raw = upload.fields.get("file") or upload.fields.get("pasted", b"")
    console.request[DEADLINE].allow(TIME_LIMIT)
    try:
        async with console.services.pool.connection() as connection:
            found = await importing.preview(connection, raw, carrier)
    except DomainError as error:
        if error.code != Code.INVALID_PARAMETERS:
            raise
        refusal = error.fields[0].render(console.language)["reason"]
        return _page(console, carrier=carrier, refusal=refusal)
    return _page(console, found, carrier)


async def run_import(submission: FormSubmission) -> ActionResult:
    """只登记试运行里看到的新卡。"""
    submission.console.request[DEADLINE].allow(TIME_LIMIT)
    planned = importing.decode(submission.form.get("selection", ""))
    done = await importing.run(submission.connection, planned, submission.after_commit)
    new, existing = done.count(Outcome.NEW), done.count(Outcome.EXISTING)
    entry = AuditEntry(SIM_REGISTER, None, {"count": new, "lines": len(done.lines), "via": "console"})
    return ActionResult(entry, "imported_some" if existing else "imported", PATH, new, skipped=existing)


def _page(
    console: ConsoleRequest, found: Imported | None = None, carrier: Carrier | None = None, refusal: str = ""
) -> web.Response:
    wrong = [] if found is None else [line for line in found.lines if line.outcome is Outcome.INVALID]
    columns = [column for column in sheet.CARD if column.given]
    return console.render(
        "sims_import.html",
        found=found,
        carrier=carrier,
        carriers=list(Carrier),
        refusal=refusal,
        outcomes=list(Outcome),
        wrong=wrong[:SHOWN],
        left_out=max(0, len(wrong) - SHOWN),
        reasons=importing.reasons_of,
        token=importing.encode(found.planned) if found is not None and found.planned else "",
        errors="" if found is None or not wrong else _link(importing.error_file(found, console.language)),
        columns=sheet.titles(columns, console.language),
        blank=_link(spreadsheet.write([sheet.titles(columns, console.language)])),
        limits=(FILE_MAX // MIB, LINES_MAX),
    )


def _link(text: str) -> str:
    """内容就在页面里的文件，点了即存：不必记住，也不必再问一次。"""
    return f"data:{MEDIA_TYPE};charset=utf-8;base64,{base64.b64encode((BOM + text).encode()).decode()}"
