"""`kaguan migrate`。"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from psycopg.errors import UndefinedColumn, UndefinedTable

from kaguan.audit.command_line import audited
from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.printing import AsJson, print_facts, print_json
from kaguan.cli.session import database_url, with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.database.connecting import Connection
from kaguan.product.exit_codes import ExitCode

if TYPE_CHECKING:
    from kaguan.database.migrate import Status

app = group("migrate")

Revision = Annotated[str, typer.Argument(help="revision")]


@app.command()
def up(revision: Revision = "head", *, as_json: AsJson = False) -> None:
    _change("upgrade", revision, as_json=as_json)


@app.command()
def down(revision: Revision, *, as_json: AsJson = False) -> None:
    _change("downgrade", revision, as_json=as_json)


@app.command()
def status(*, as_json: AsJson = False) -> None:
    from kaguan.database import migrate  # noqa: PLC0415 见其模块说明

    url = database_url(current_settings())
    if not _report(migrate.status(url), as_json=as_json):
        raise typer.Exit(ExitCode.FAILURE)


def _change(direction: Literal["upgrade", "downgrade"], revision: str, *, as_json: bool) -> None:
    from kaguan.database import migrate  # noqa: PLC0415 见其模块说明

    url = database_url(current_settings())
    with_database(_is_followed, atomic=False)
    before = migrate.status(url).current
    try:
        (migrate.upgrade if direction == "upgrade" else migrate.downgrade)(url, revision)
    except migrate.UnknownRevisionError as error:
        raise CommandError(say("no_revision", revision=revision, error=error), ExitCode.USAGE) from None
    except migrate.UnreleasedError as error:
        raise CommandError(str(error)) from None
    except migrate.BusyError as error:
        raise CommandError(say("come_back", error=error)) from None
    found = migrate.status(url)
    if found.current != before:
        with suppress(UndefinedTable, UndefinedColumn):  # 退到了还没有审计的版本，或它还没有这些列
            with_database(lambda connection: audited(connection, "migrate", found.current, before=before))
    _report(found, as_json=as_json)


async def _is_followed(connection: Connection) -> None:
    """连得上就是：切换之前的主库，连接那里就不认。"""


def _report(found: Status, *, as_json: bool) -> bool:
    facts = {"current": found.current, "head": found.head, "up_to_date": found.up_to_date}
    if as_json:
        print_json(facts)
    else:
        print_facts({say(name): value for name, value in facts.items()})
    return found.up_to_date
