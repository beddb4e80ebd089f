"""The tables of an outbox: made, brought up to this version, and asked whose they are."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import LiteralString
from uuid import UUID

from psycopg import sql

from kaguan.database.pool import Connection
from kaguan.outbox.accept.contract import definition

PACKAGE = "kaguan.outbox"
PRODUCT = "kaguan"  # 产品自己的，在 search_path 的头一个模式里；别人的名字就是模式
NOBODY = UUID(int=0)
VERSION = 1  # 表的版本，从 1 起；第 n 版在 schema_n.sql

# 一条语句，没有参数的记号：哪个驱动都执行得了，预备语句的也行；走完 search_path 照旧。几个进程同时来，只做一次
INSTALL = """
do $install$
declare
    before text := current_setting('search_path');
    installed record;
begin
    {enter}
    perform pg_advisory_xact_lock(hashtext('kaguan.outbox.schema'));
    if to_regclass('tb_installation') is null then
        {first}
        insert into tb_installation (id, name, version) values (1, '{name}', 1);
    end if;
    select name, version into installed from tb_installation;
    if installed.name <> '{name}' then
        raise exception using message =
            'the outbox here is ' || installed.name || ', not {name} / 这里的发件箱不是 {name}';
    end if;
    if installed.version > {version} then
        raise exception using message = 'the tables were made by a newer kaguan: version '
            || installed.version || ', this one knows {version} / 表是更新的版本建的';
    end if;
    perform set_config('search_path', before, true);
end
$install$
"""


class NotInstalledError(RuntimeError):
    """The tables are missing, or older or newer than this version; says what to run."""


@cache
def install_sql(name: str) -> LiteralString:
    """The one statement that makes the tables of the outbox ``name`` in the schema ``name``, or brings them up to date.

    It runs in your transaction, through any driver and in any migration tool; what is there is left alone. In an
    Alembic revision: ``op.execute(install_sql("shop"))``.
    """
    enter = f"create schema if not exists \"{name}\"; perform set_config('search_path', '\"{name}\"', true);"
    statement: LiteralString = INSTALL.format(
        name=name, version=VERSION, first=_step(1) + definition(), enter="" if name == PRODUCT else enter
    )
    return statement


def _step(number: int) -> LiteralString:
    text: LiteralString = (files(PACKAGE) / f"schema_{number}.sql").read_text("utf-8")
    return text


async def install(connection: Connection, name: str) -> None:
    """Execute :func:`install_sql`; in a transaction of yours, or in one of its own."""
    await connection.execute(install_sql(name))


async def installation(connection: Connection, name: str, *, behind: bool = False) -> UUID:
    """Whether the outbox ``name`` is here in this version; what tells this installation from any other.

    Args:
        connection: of a pool that looks into the schema.
        name: of the outbox, which is its schema.
        behind: an older version will do: it is about to be brought up.

    Raises:
        NotInstalledError: it is not.
    """
    place = sql.Identifier(name, "tb_installation")
    found = await (await connection.execute("select to_regclass(%s)", [place.as_string(connection)])).fetchone()
    if found is None or found[0] is None:
        raise NotInstalledError(
            f"the outbox {name} is not installed in this database: await outbox.install(), or install_sql({name!r}) in"
            f" a migration / 这个库里没有 {name}：先 install()，或在迁移里执行 install_sql({name!r})"
        )
    cursor = await connection.execute(sql.SQL("select version, uuid from {}").format(place))
    version, uuid = await cursor.fetchone() or (0, NOBODY)
    if version < VERSION and not behind:
        raise NotInstalledError(
            f"the tables of {name} are of version {version}, this is {VERSION}: await outbox.migrate()"
            f" / {name} 的表是第 {version} 版，要第 {VERSION} 版：先 migrate()"
        )
    if version > VERSION:
        raise NotInstalledError(
            f"the tables of {name} are of version {version}, made by a newer kaguan than this one ({VERSION})"
            f" / {name} 的表是第 {version} 版，比这份代码的新（{VERSION}）"
        )
    return UUID(str(uuid))
