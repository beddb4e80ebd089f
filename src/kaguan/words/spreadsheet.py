"""CSV：人用表格软件存的读得进来，写出去的表格软件打开也安全。"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO

from kaguan.words.errors import invalid

MEDIA_TYPE = "text/csv"
BOM = "\ufeff"  # 没有它，Excel 把 UTF-8 当成本地编码
SEPARATORS = (",", ";", "\t")
LIST_SEPARATOR = ";"  # 一格里几样东西之间
# 以它们开头的一格会被当成公式（OWASP CSV Injection，全角的也算）
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
GUARD = "'"
LONG_NUMBER = 12  # 位；再长的，Excel 写成科学记数


@dataclass(frozen=True, slots=True)
class Line:
    """一行；``number`` 是它在文件里从第几行起（1 起），引号里可以有换行。"""

    number: int
    cells: tuple[str, ...]


def read(raw: bytes, field: str) -> Iterator[Line]:
    """文件里不空的各行。编码是 UTF-8（有无 BOM 都行）或 GB18030，分隔是逗号、分号或制表符，都认得出。

    Raises:
        DomainError: 1001，不是文本，或引号没有收尾；指着 ``field``。
    """
    text = _decoded(raw)
    if text is None or "\x00" in text:
        raise invalid(field, "不是 CSV 文本（UTF-8 或 GB18030）", "not CSV text (UTF-8 or GB18030)")
    reader = csv.reader(StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    before = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield Line(before + 1, tuple(_bare(cell) for cell in cells))
            before = reader.line_num
    except csv.Error:
        line = before + 1
        raise invalid(field, f"第 {line} 行的引号有误", f"line {line}: broken quotes") from None


def write(rows: Iterable[Sequence[object]]) -> str:
    """各行的 CSV（RFC 4180）；动得了表格软件的格子加一个撇号。"""
    out = StringIO(newline="")
    csv.writer(out).writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def kept_whole(number: str | None) -> str | None:
    """给表格软件看的长号码：前面一个制表符，它才当作文本；读回来时去掉。"""
    return number if number is None or len(number) < LONG_NUMBER else f"\t{number}"


def _decoded(raw: bytes) -> str | None:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


def _separator(text: str) -> str:
    """头一行里最多的那个。"""
    head = text.lstrip().partition("\n")[0]
    return max(SEPARATORS, key=head.count)


def _bare(cell: str) -> str:
    """去掉两头的空白与写出去时加的撇号。"""
    text = cell.strip()
    return text[1:] if text.startswith(GUARD) and text.lstrip(GUARD).startswith(FORMULA) else text


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat().replace("+00:00", "Z")  # 与 JSON 一样写
        case list() | tuple():
            return _cell(LIST_SEPARATOR.join(map(str, value)))
        case str():
            harmless = value.removeprefix("\t").isdigit()
            return f"{GUARD}{value}" if value.lstrip(GUARD).startswith(FORMULA) and not harmless else value
        case _:
            return str(value)
