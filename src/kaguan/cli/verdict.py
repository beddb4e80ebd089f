"""`kaguan verdict`：什么时候红过、红了多久；此刻的判断在 ``kaguan doctor``。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from kaguan.cli.filters import ago
from kaguan.cli.printing import AsJson, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language
from kaguan.verdict import history
from kaguan.verdict.history import Episode
from kaguan.verdict.model import ConcernCode
from kaguan.verdict.wording import Wording
from kaguan.words.durations import duration

app = group("verdict")

COLUMNS = ("level", "text", "lasted", "since", "ended_at")
SHOWN, MOST = 50, 1_000

Since = Annotated[datetime | None, typer.Option(parser=ago, metavar="moment", help="history_since")]
Until = Annotated[datetime | None, typer.Option(parser=ago, metavar="moment", help="history_until")]


@app.callback()
def verdict() -> None:
    """一组命令。"""


@app.command(name="history")
def show_history(
    *,
    since: Since = None,
    until: Until = None,
    code: Annotated[ConcernCode | None, typer.Option(metavar="CODE", help="concern_code")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="limit")] = SHOWN,
    as_json: AsJson = False,
) -> None:
    rows = with_database(lambda connection: history.page(connection, limit, since=since, until=until, code=code))
    if as_json:
        print_json([{**asdict(row), "text": _text(row), "seconds": row.seconds} for row in rows])
    else:
        print_table("episode", COLUMNS, [_shown(row) for row in rows])


def _shown(row: Episode) -> dict[str, Any]:
    return asdict(row) | {"text": _text(row), "lasted": duration(row.seconds)}


def _text(row: Episode) -> str:
    return Wording(reader_language()).text(row.concern)
