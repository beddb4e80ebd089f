"""`kaguan token`。"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from kaguan.audit.actions import TOKEN_CREATE, TOKEN_REVOKE
from kaguan.audit.command_line import audited
from kaguan.cli.failure import CommandError
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.database.connecting import Connection
from kaguan.tokens import service, store
from kaguan.words.units import DAY

app = group("token")

COLUMNS = ("name", "hint", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at")

Name = Annotated[str, typer.Option(help="new_token")]
Scopes = Annotated[str, typer.Option(help=f"scopes {' '.join(service.SCOPES)}")]
Days = Annotated[float | None, typer.Option(min=0.001, help="days")]


@app.command()
def create(name: Name, scopes: Scopes, days: Days = None, *, as_json: AsJson = False) -> None:
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    lifetime = None if days is None else days * DAY

    async def work(connection: Connection) -> service.IssuedToken:
        issued = await service.create(connection, name, wanted, lifetime)
        await audited(connection, TOKEN_CREATE, name, scopes=sorted(issued.row.scopes), days=days)
        return issued

    issued = with_database(work)
    if as_json:
        print_json({"token": issued.token, **_public(issued.row)})
    else:
        echo(issued.token)


@app.command(name="list")
def list_tokens(*, as_json: AsJson = False) -> None:
    rows = [_public(row) for row in with_database(store.select_all)]
    if as_json:
        print_json(rows)
    else:
        print_table("token", COLUMNS, [row | {"scopes": ",".join(row["scopes"])} for row in rows])


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="token")], *, as_json: AsJson = False) -> None:
    async def work(connection: Connection) -> bool:
        revoked = await store.revoke(connection, name)
        if revoked:
            await audited(connection, TOKEN_REVOKE, name)
        return revoked

    if not with_database(work):
        raise CommandError(say("no_token", name=name))
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        echo(say("revoked", name=name))


def _public(row: store.TokenRow) -> dict[str, Any]:
    return asdict(row)
