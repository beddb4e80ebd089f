"""`kaguan sim import` 背后的事。"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import typer

from kaguan.audit.actions import SIM_REGISTER
from kaguan.audit.command_line import audited
from kaguan.cli.failure import CommandError
from kaguan.cli.printing import echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.wording import reader_language, say
from kaguan.database.pool import Connection, at_once
from kaguan.product.exit_codes import ExitCode
from kaguan.sims import importing
from kaguan.sims.importing import FILE_MAX, Imported, Outcome, Planned
from kaguan.sims.vocabulary import Carrier
from kaguan.words.spreadsheet import BOM
from kaguan.words.units import MIB

SHOWN = 20  # 错的至多列这么多行
COLUMNS = ("line", "iccid", "reason")
SAID = ("line", "iccid", "outcome", "luhn_valid", "errors")


def import_file(file: Path, carrier: Carrier | None, errors: Path | None) -> Imported:
    """看一遍；``errors`` 写下不合格的各行。

    Raises:
        CommandError: 文件读不了，或太大。
    """
    found = with_database(partial(_preview, _content(file), carrier))
    if errors is not None:
        errors.write_text(BOM + importing.error_file(found, reader_language()), "utf-8", newline="")
    return found


def ask(found: Imported) -> bool:
    """人在终端前，有新卡，也说登记。"""
    if not found.planned or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return typer.confirm(say("import_these", count=len(found.planned)))


def register(found: Imported) -> Imported:
    """登记看到的那些新卡。"""
    return importing.merged(found, with_database(partial(_run, found.planned)))


async def _preview(raw: bytes, carrier: Carrier | None, connection: Connection) -> Imported:
    return await importing.preview(connection, raw, carrier)


async def _run(planned: Sequence[Planned], connection: Connection) -> Imported:
    done = await importing.run(connection, planned, at_once)
    await audited(connection, SIM_REGISTER, count=done.count(Outcome.NEW), lines=len(done.lines))
    return done


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_MAX + 1)
    except OSError as error:
        raise CommandError(say("unreadable", file=file, error=error.strerror or error), ExitCode.USAGE) from None
    if len(raw) > FILE_MAX:
        raise CommandError(say("file_too_large", file=file, most=FILE_MAX // MIB), ExitCode.USAGE)
    return raw


def report(found: Imported, sentence: str, *, as_json: bool) -> None:
    """每种几行，错的在哪里；``sentence`` 是目录里的那一句。"""
    language = reader_language()
    counts = {outcome.value: found.count(outcome) for outcome in Outcome}
    if as_json:
        items = [asdict(line) | {"errors": [one.render(language) for one in line.errors]} for line in found.lines]
        print_json(counts | {"items": [{name: one[name] for name in SAID} for one in items]})
        return
    wrong = [line for line in found.lines if line.outcome is Outcome.INVALID][:SHOWN]
    if wrong:
        reasons = [importing.reasons_of(line, language) for line in wrong]
        rows = [asdict(line) | {"reason": reason} for line, reason in zip(wrong, reasons, strict=True)]
        print_table("import", COLUMNS, rows)
    echo(say(sentence, **counts))
