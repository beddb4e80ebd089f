"""`kaguan verdict`：什么时候红过、红了多久；此刻的判断在 ``kaguan doctor``。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from kaguan.audit.actions import REMIND
from kaguan.audit.command_line import audited
from kaguan.cli.failure import CommandError
from kaguan.cli.filters import ago
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language, say
from kaguan.database.connecting import Connection
from kaguan.verdict import acknowledging, history
from kaguan.verdict.history import Episode
from kaguan.verdict.model import Acknowledgement, ConcernCode
from kaguan.verdict.wording import Wording
from kaguan.words.durations import duration

app = group("verdict")

COLUMNS = ("level", "text", "lasted", "since", "ended_at", "told_at")
ACKNOWLEDGED = ("id", "code", "subject", "level", "until", "reason", "actor")
SHOWN, MOST = 50, 1_000

Since = Annotated[datetime | None, typer.Option(parser=ago, metavar="moment", help="history_since")]
Until = Annotated[datetime | None, typer.Option(parser=ago, metavar="moment", help="history_until")]


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


@app.command(name="acknowledged")
def list_acknowledged(*, as_json: AsJson = False) -> None:
    rows = with_database(acknowledging.acknowledged)
    if as_json:
        print_json(rows)
    else:
        print_table("acknowledged", ACKNOWLEDGED, [asdict(row) for row in rows])


@app.command(name="remind")
def remind(
    acknowledgement: Annotated[UUID, typer.Argument(help="acknowledgement_id")], *, as_json: AsJson = False
) -> None:
    async def work(connection: Connection) -> Acknowledgement:
        ended = await acknowledging.remind(connection, acknowledgement)
        if ended is None:
            raise CommandError(say("not_acknowledged"))
        await audited(connection, REMIND, ended.code, subject=ended.subject)
        return ended

    ended = with_database(work)
    if as_json:
        print_json(ended)
    else:
        echo(say("reminded", code=ended.code))


def _shown(row: Episode) -> dict[str, Any]:
    return asdict(row) | {"text": _text(row), "lasted": duration(row.seconds)}


def _text(row: Episode) -> str:
    return Wording(reader_language()).text(row.concern)
