"""命令的结果：给人看的一张表，或 ``--json`` 给程序看。"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import orjson
import typer

from kaguan.cli.configured import current_settings
from kaguan.cli.wording import catalogue, reader_language, say
from kaguan.words.printable import LINES, printable
from kaguan.words.zones import written

AsJson = Annotated[bool, typer.Option("--json", help="json")]


def echo(text: str, kept: str = "", *, err: bool = False) -> None:
    """一行。值来自 Redis、PostgreSQL、别人的应答：动得了终端的写成转义。``kept`` 里的留着。"""
    typer.echo(printable(text, kept), err=err)


def print_json(value: object) -> None:
    """任意由 dict、list、dataclass、UUID、时间组成的值。"""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    echo(orjson.dumps(value, default=str, option=options).decode(), LINES)


def print_table(name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """``name`` 这张表的表头在目录里；没有行就只说没有。"""
    texts = catalogue(reader_language())["table"][name]
    if not rows:
        echo(texts["none"])
        return
    zone = current_settings().zone
    lines = [[texts[key] for key in columns], *([_cell(row.get(key), zone) for key in columns] for row in rows)]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        echo("  ".join(cells).rstrip())
    if any(isinstance(row.get(key), datetime) for row in rows for key in columns):
        echo(say("zone", zone=zone.key))


def print_facts(facts: Mapping[str, Any]) -> None:
    """一行一个「名：值」。"""
    zone = current_settings().zone
    width = max((_width(name) for name in facts), default=0)
    for name, value in facts.items():
        echo(f"{name}{' ' * (width - _width(name))}  {_cell(value, zone)}")


def _cell(value: object, zone: ZoneInfo) -> str:
    match value:
        case None:
            return "-"
        case datetime():
            return written(value, zone)
        case bool():
            return say("yes") if value else say("no")
        case dict() | list():
            return _several(value, zone) or "-"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _several(value: Mapping[str, Any] | list[Any], zone: ZoneInfo) -> str:
    """``名=值 …``；原因是一句话，放在最后，它的参数已在话里。"""
    if isinstance(value, list):
        return " ".join(_cell(one, zone) for one in value)
    rest = {name: one for name, one in value.items() if one is not None}
    reason = rest.pop("reason", None)
    if reason is not None:
        rest.pop("parameters", None)
    cells = {name: f"({_cell(one, zone)})" if isinstance(one, dict) else _cell(one, zone) for name, one in rest.items()}
    return "  ".join([*(f"{name}={cell}" for name, cell in cells.items()), *([reason] if reason else [])])


def _width(text: str) -> int:
    """终端里占几格：东亚宽字符两格（Unicode TR11）。"""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
