"""从 CSV 登记卡：先看哪些是新的、已有的、不合格的，再只登记看到的那些新的。"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from kaguan.database.pool import AfterCommit, Connection
from kaguan.database.sql import load
from kaguan.flow.time_slice import TimeSlice
from kaguan.logging.operation import operation
from kaguan.sims import sheet, store
from kaguan.sims.identity import READERS
from kaguan.sims.labels import LABEL_MAX, REMARK_MAX, TAG_MAX, TAGS_MAX, UNTIDY, is_tidy
from kaguan.sims.model import EID_UNIQUE
from kaguan.sims.service import Checked, NewSim, check
from kaguan.sims.store import TAKEN
from kaguan.sims.vocabulary import PACKAGE, Carrier
from kaguan.words import spreadsheet
from kaguan.words.errors import DomainError, FieldError, invalid
from kaguan.words.spreadsheet import Line
from kaguan.words.units import MIB

FIELD = "content_base64"  # 拒绝时指着它
FILE_MAX = 4 * MIB  # 字节
LINES_MAX = 10_000  # 行，表头不算
PREVIEW_MAX = 8 * MIB  # 字符；凭据里是每一张新卡
RAW_MAX = 16 * MIB  # 字节；凭据展开之后
TIME_LIMIT = 60.0  # 秒；给一个请求的，一万张卡在忙的库上要写十几秒
AT_ONCE = 1_000  # 一条语句写这么多张
STRIDE = 64  # 看过这么多行，就看看是否该让一圈
SCIENTIFIC = re.compile(r"[0-9](?:\.[0-9]+)?[Ee]\+?[0-9]{1,2}")
MANGLED = (
    "表格软件把它写成了科学记数，后面几位已经丢了：把这一列设成文本，再填一遍",
    "the spreadsheet wrote it in scientific notation and lost digits: format the column as text, enter it again",
)


class Outcome(StrEnum):
    """一行的结局；试运行时，``new`` 是会登记的。"""

    NEW = "new"
    EXISTING = "existing"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Planned:
    """要登记的一行。"""

    line: int
    sim: NewSim


@dataclass(frozen=True, slots=True)
class ImportedLine:
    """一行的答复；``luhn_valid`` 为假只是提醒。"""

    line: int
    iccid: str
    outcome: Outcome
    errors: tuple[FieldError, ...] = ()
    luhn_valid: bool | None = None
    cells: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """一份文件的答复；``planned`` 是其中新的，``header`` 是原来的表头。"""

    lines: Sequence[ImportedLine]
    planned: Sequence[Planned] = ()
    header: Sequence[str] = ()

    def count(self, outcome: Outcome) -> int:
        return sum(line.outcome is outcome for line in self.lines)


async def preview(connection: Connection, raw: bytes, carrier: Carrier | None) -> Imported:
    """会怎样：什么也不写。没写运营商的行用 ``carrier``。

    Raises:
        DomainError: 1001，不是 CSV、太大、太多行，或表头不对。
    """
    header, read = await _read(raw, carrier)
    answers = _without_repeats(read)
    fresh = [planned for planned in answers if isinstance(planned, _Fit)]
    iccids = [fit.checked.number.digits for fit in fresh]
    eids = [fit.checked.values["eid"] for fit in fresh if fit.checked.values["eid"] is not None]
    cursor = await connection.execute(load(PACKAGE, "known_numbers"), {"iccids": iccids, "eids": eids})
    known = {number async for (number,) in cursor}
    lines: list[ImportedLine] = []
    planned: list[Planned] = []
    for one in answers:
        answer = _existing(one, known) if isinstance(one, _Fit) else one
        lines.append(answer)
        if isinstance(one, _Fit) and answer.outcome is Outcome.NEW:
            planned.append(Planned(one.line.number, one.sim))
    return Imported(lines, planned, header)


async def run(connection: Connection, planned: Sequence[Planned], after_commit: AfterCommit) -> Imported:
    """登记 ``planned``；其间别人登记了的是 ``existing``。连接已在事务中。"""
    with operation("sim.import", after_commit, total=len(planned)) as facts:
        slice_ = TimeSlice()
        checked: list[tuple[Planned, Checked | tuple[FieldError, ...]]] = []
        for number, one in enumerate(planned):
            checked.append((one, _faults(one.sim) or check(one.sim)))
            if number % STRIDE == 0:
                await slice_.pause_when_used()
        rows = [card.values for _, card in checked if isinstance(card, Checked)]
        created: set[str] = set()
        for start in range(0, len(rows), AT_ONCE):
            created.update(await store.insert_sims(connection, rows[start : start + AT_ONCE]))
        facts["created"] = len(created)
        return Imported([_written(one, card, created) for one, card in checked])


def merged(found: Imported, done: Imported) -> Imported:
    """登记的结局换下预料的。"""
    written = {line.line: line for line in done.lines}
    kept = [written.pop(line.line, line) for line in found.lines]
    return Imported([*kept, *written.values()], header=found.header)


def error_file(imported: Imported, language: str) -> str:
    """不合格的各行照原样，后面是行号与原因：改好了直接再导入。"""
    wrong = [line for line in imported.lines if line.outcome is Outcome.INVALID]
    header = imported.header or [sheet.CARD[0].title(language)]
    rows = [
        [*_padded(line.cells or (line.iccid,), len(header)), line.line, reasons_of(line, language)] for line in wrong
    ]
    return spreadsheet.write([[*header, *sheet.titles(sheet.FAULT, language)], *rows])


def reasons_of(line: ImportedLine, language: str) -> str:
    """一行的全部原因，说成话。"""
    said = [error.render(language) for error in line.errors]
    return ("; " if language == "en" else "；").join(f"{one['field']}: {one['reason']}" for one in said)


def encode(planned: Sequence[Planned]) -> str:
    """试运行的凭据：每一张新卡都写在里面，不必存、不会过期。"""
    return base64.urlsafe_b64encode(zlib.compress(orjson.dumps(planned))).decode()


def decode(text: str) -> list[Planned]:
    """:func:`encode` 的逆。

    Raises:
        DomainError: 1001，不是试运行给的，或不完整。
    """
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(base64.b64decode(text, altchars=b"-_", validate=True), RAW_MAX)
        planned = _PLAN.validate_json(raw)
    except (ValueError, binascii.Error, zlib.error, ValidationError):
        raise _not_ours() from None
    if not inflater.eof or len(planned) > LINES_MAX:
        raise _not_ours()
    return planned


_PLAN = TypeAdapter(list[Planned])


def _not_ours() -> DomainError:
    return invalid("preview", "不是试运行给的，或不完整", "not from a dry run, or incomplete")


@dataclass(frozen=True, slots=True)
class _Fit:
    """合格的一行。"""

    line: Line
    sim: NewSim
    checked: Checked


async def _read(raw: bytes, carrier: Carrier | None) -> tuple[Sequence[str], list[_Fit | ImportedLine]]:
    if len(raw) > FILE_MAX:
        raise invalid(FIELD, f"文件至多 {FILE_MAX // MIB} MiB", f"the file may have at most {FILE_MAX // MIB} MiB")
    lines = spreadsheet.read(raw, FIELD)
    header = next(lines, None)
    if header is None:
        raise invalid(FIELD, "文件是空的", "the file is empty")
    fields = sheet.fields_of(header.cells, FIELD)
    slice_ = TimeSlice()
    read: list[_Fit | ImportedLine] = []
    for line in lines:
        if len(read) == LINES_MAX:
            raise invalid(FIELD, f"至多 {LINES_MAX:,} 行，请分成几份", f"at most {LINES_MAX:,} lines: split the file")
        read.append(_judged(line, fields, carrier))
        if len(read) % STRIDE == 0:
            await slice_.pause_when_used()
    return header.cells, read


def _judged(line: Line, fields: Sequence[str | None], carrier: Carrier | None) -> _Fit | ImportedLine:
    """一行的对错，一次说全。"""
    if len(line.cells) > len(fields) and any(line.cells[len(fields) :]):
        error = FieldError("line", f"比表头多了格子：{len(fields)} 列", f"more cells than the {len(fields)} columns")
        return ImportedLine(line.number, line.cells[0], Outcome.INVALID, (error,), cells=line.cells[: len(fields)])
    given = {name: text for name, text in zip(fields, line.cells, strict=False) if name is not None and text}
    said = sheet.carrier_of(given["carrier"]) if "carrier" in given else carrier
    errors = [said] if isinstance(said, FieldError) else []
    if said is None:
        errors.append(FieldError("carrier", "必填", "required"))
    errors += [FieldError(name, *MANGLED) for name in ("iccid", *READERS) if SCIENTIFIC.fullmatch(given.get(name, ""))]
    tags = [tag.strip() for tag in given.get("tags", "").replace("；", spreadsheet.LIST_SEPARATOR).split(";")]
    sim = NewSim(
        iccid=given.get("iccid", ""),
        carrier=said if isinstance(said, Carrier) else next(iter(Carrier)),
        tags=[tag for tag in tags if tag],
        **{name: given.get(name) for name in (*READERS, "plan", "group", "customer", "remark")},
    )
    mangled = {error.field for error in errors}
    checked = check(sim)
    faults = checked if isinstance(checked, tuple) else ()
    errors += [fault for fault in faults if fault.field not in mangled]
    errors += _faults(sim)
    if errors or isinstance(checked, tuple):
        return ImportedLine(line.number, sim.iccid, Outcome.INVALID, tuple(errors), cells=line.cells)
    return _Fit(line, sim, checked)


def _faults(sim: NewSim) -> tuple[FieldError, ...]:
    """名字、标签、备注不合规矩的。"""
    named = (("plan", sim.plan, LABEL_MAX), ("group", sim.group, LABEL_MAX), ("customer", sim.customer, LABEL_MAX))
    labels = [*named, *(("tags", tag, TAG_MAX) for tag in sim.tags)]
    errors = [FieldError(name, *_at_most(most)) for name, text, most in labels if text is not None and len(text) > most]
    errors += [FieldError(name, *UNTIDY) for name, text, _ in labels if text is not None and not is_tidy(text)]
    if len(sim.tags) > TAGS_MAX:
        errors.append(FieldError("tags", f"至多 {TAGS_MAX} 个", f"at most {TAGS_MAX}"))
    if sim.remark is not None and len(sim.remark) > REMARK_MAX:
        errors.append(FieldError("remark", *_at_most(REMARK_MAX)))
    return tuple(dict.fromkeys(errors))


def _at_most(most: int) -> tuple[str, str]:
    return f"至多 {most} 个字符", f"at most {most} characters"


def _without_repeats(read: Iterable[_Fit | ImportedLine]) -> list[_Fit | ImportedLine]:
    """同一份里重复的号码，头一行算数。"""
    first: dict[str, int] = {}
    kept: list[_Fit | ImportedLine] = []
    for one in read:
        if not isinstance(one, _Fit):
            kept.append(one)
            continue
        numbers = {name: one.checked.values[name] for name in ("iccid", "eid")}
        before = {name: first[number] for name, number in numbers.items() if number in first}
        errors = tuple(_same(name, line) for name, line in before.items())
        if errors:
            iccid = one.checked.number.digits
            kept.append(ImportedLine(one.line.number, iccid, Outcome.INVALID, errors, cells=one.line.cells))
        else:
            first.update({number: one.line.number for number in numbers.values() if number is not None})
            kept.append(one)
    return kept


def _same(name: str, line: int) -> FieldError:
    return FieldError(name, f"与第 {line} 行相同", f"the same as on line {line}")


def _existing(fit: _Fit, known: set[str]) -> ImportedLine:
    number, eid = fit.checked.number, fit.checked.values["eid"]
    answer = ImportedLine(fit.line.number, number.digits, Outcome.NEW, (), number.luhn_valid)
    if number.digits in known:
        return replace(answer, outcome=Outcome.EXISTING)
    if eid in known:
        error = FieldError(*TAKEN[EID_UNIQUE])
        return replace(answer, outcome=Outcome.INVALID, errors=(error,), cells=fit.line.cells)
    return answer


def _written(one: Planned, card: Checked | tuple[FieldError, ...], created: set[str]) -> ImportedLine:
    if not isinstance(card, Checked):
        return ImportedLine(one.line, one.sim.iccid, Outcome.INVALID, card)
    number = card.number
    outcome = Outcome.NEW if number.digits in created else Outcome.EXISTING
    return ImportedLine(one.line, number.digits, outcome, (), number.luhn_valid)


def _padded(cells: Sequence[str], width: int) -> list[Any]:
    return [*cells, *[""] * (width - len(cells))][:width]
