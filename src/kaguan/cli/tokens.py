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
from kaguan.database.pool import Connection
from kaguan.tokens import service, store
from kaguan.words.units import DAY

app = typer.Typer(help="API 令牌。", no_args_is_help=True)

COLUMNS = {
    "name": "名字",
    "hint": "开头",
    "scopes": "权限",
    "created_at": "签发",
    "expires_at": "过期",
    "last_used_at": "最近使用",
    "revoked_at": "吊销",
}

Name = Annotated[str, typer.Option(help="名字，有效令牌中唯一")]
Scopes = Annotated[str, typer.Option(help=f"逗号分隔：{' '.join(service.SCOPES)}")]
Days = Annotated[float | None, typer.Option(min=0.001, help="几天后过期；不给即不过期")]


@app.command()
def create(name: Name, scopes: Scopes, days: Days = None, *, as_json: AsJson = False) -> None:
    """签发；令牌只显示这一次。"""
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
    """全部令牌（没有令牌本身）。"""
    rows = [_public(row) for row in with_database(store.select_all)]
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, [row | {"scopes": ",".join(row["scopes"])} for row in rows], "还没有令牌")


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="名字")], *, as_json: AsJson = False) -> None:
    """吊销，立即生效。"""

    async def work(connection: Connection) -> bool:
        revoked = await store.revoke(connection, name)
        if revoked:
            await audited(connection, TOKEN_REVOKE, name)
        return revoked

    if not with_database(work):
        raise CommandError(f"没有名为 {name} 的有效令牌；`kaguan token list` 列出全部")
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        echo(f"已吊销 {name}")


def _public(row: store.TokenRow) -> dict[str, Any]:
    return asdict(row)
