"""一个版本对外是什么样：数据库的结构、库的名字与签名、HTTP、命令行、配置的键，各记一个指纹。

``python -m tests.migrations.release`` 照眼下的重新记下（``release.json``）。
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import typer
from typer.main import get_command

from api.openapi.document import build
from api.routes import ROUTES
from kaguan import outbox
from kaguan.cli.app import app
from kaguan.config.loading import known_keys
from tests.support.fault_plant import own_directory, own_postgres

RECORDED = Path(__file__).with_name("release.json")
LENGTH = 12  # 个字符的指纹
WORDS = {"description", "summary", "example", "examples", "info"}  # 怎么说的不算，约定的算
# 列不论次序；约束、索引、触发器照 PostgreSQL 自己的写法
SCHEMA = """
select c.relname, concat_ws(E'\\n',
    c.relkind, c.reloptions,
    case when c.relkind = 'v' then pg_get_viewdef(c.oid) end,
    (
        select string_agg(concat_ws(' ',
            a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            (select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d where d.adrelid = c.oid and d.adnum = a.attnum)
        ), E'\\n' order by a.attname)
        from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    ),
    (
        select string_agg(concat_ws(' ', conname, pg_get_constraintdef(k.oid)), E'\\n' order by conname)
        from pg_constraint k where k.conrelid = c.oid and k.contype <> 'n'
    ),
    (
        select string_agg(pg_get_indexdef(i.indexrelid), E'\\n' order by pg_get_indexdef(i.indexrelid))
        from pg_index i where i.indrelid = c.oid
    ),
    (select string_agg(pg_get_triggerdef(t.oid), E'\\n' order by tgname) from pg_trigger t where t.tgrelid = c.oid)
)
from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'p') and c.relname <> 'alembic_version'
union all
select p.oid::regprocedure::text, pg_get_functiondef(p.oid) from pg_proc p where p.pronamespace = 'public'::regnamespace
"""

Facts = dict[str, dict[str, str]]


def release(database: str) -> dict[str, Any]:
    """眼下的版本与它的样子；``database`` 是迁移好的库。"""
    return {"version": version("kaguan"), "facts": facts(database)}


def facts(database: str) -> Facts:
    """哪一面 → 名字 → 指纹。"""
    sides: dict[str, Iterator[tuple[str, object]]] = {
        "schema": _schema(database),
        "library": _library(),
        "http": _http(),
        "command line": _commands(),
        "configuration": ((key, "") for key in known_keys()),
    }
    return {side: {name: _fingerprint(fact) for name, fact in sorted(found)} for side, found in sides.items()}


def differences(recorded: Facts, found: Facts) -> list[str]:
    """哪一面的哪个名字不同了。"""
    told = []
    for side in sorted(recorded.keys() | found.keys()):
        before, now = recorded.get(side, {}), found.get(side, {})
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                what = "没有了" if name not in now else "是新的" if name not in before else "变了"
                told.append(f"{side}: {name} {what}")
    return told


def _fingerprint(fact: object) -> str:
    return hashlib.sha256(json.dumps(fact, sort_keys=True, default=str).encode()).hexdigest()[:LENGTH]


def _schema(database: str) -> Iterator[tuple[str, object]]:
    with psycopg.connect(database) as connection:
        yield from connection.execute(SCHEMA.encode()).fetchall()


def _library() -> Iterator[tuple[str, object]]:
    for name in outbox.__all__:
        thing = getattr(outbox, name)
        if isinstance(thing, type) and issubclass(thing, Enum):
            yield name, [[one.name, one.value] for one in thing]
            continue
        yield name, _signature(thing)
        if isinstance(thing, type):
            own = [parent for parent in thing.__mro__ if parent.__module__.startswith("kaguan")]
            members = {member: value for parent in reversed(own) for member, value in vars(parent).items()}
            for member, value in members.items():
                if not member.startswith("_"):
                    yield f"{name}.{member}", _signature(value)


def _signature(thing: object) -> str:
    """参数与返回；不是函数的，只说它是什么。在哪个模块里、默认值的地址、各版本写不写 ``typing.`` 都不算。"""
    called = thing.__func__ if isinstance(thing, classmethod | staticmethod) else thing
    called = called.fget if isinstance(called, property) else called
    if isinstance(called, type) and issubclass(called, Exception):
        text = str(called.__mro__)
    elif inspect.isroutine(called) or (isinstance(called, type) and called.__module__.startswith("kaguan")):
        text = str(inspect.signature(called))
    else:
        text = str(called)
    return re.sub(r" at 0x[0-9a-f]+|\b(?:kaguan(\.\w+)*|typing)\.", "", text)


def _http() -> Iterator[tuple[str, object]]:
    document = _bare(build(ROUTES))
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation
    for kind, components in document["components"].items():
        for name, component in components.items():
            yield f"{kind} {name}", component


def _bare(value: Any) -> Any:
    """只剩约定的：说明、例子去掉。"""
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if not (key in WORDS and not _is_schema(item))}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _is_schema(item: object) -> bool:
    """名字恰好叫这个的字段，不是说明。"""
    return isinstance(item, dict) and bool({"type", "$ref", "anyOf"} & item.keys())


def _commands() -> Iterator[tuple[str, object]]:
    root = get_command(app)
    pending: list[tuple[str, Any]] = [("kaguan", root)]
    while pending:
        name, command = pending.pop()
        options = [[type(one).__name__, one.name, one.opts, one.required] for one in command.params]
        yield name, sorted(options, key=str)
        pending += [(f"{name} {word}", one) for word, one in getattr(command, "commands", {}).items()]


async def record() -> None:
    with own_directory() as directory:
        async with own_postgres(directory) as (server, _):
            found = await asyncio.to_thread(release, server.url)
    RECORDED.write_text(json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n", "utf-8")
    typer.echo(f"{found['version']}：{sum(map(len, found['facts'].values()))} 处，记在 {RECORDED.name}")


if __name__ == "__main__":
    sys.exit(asyncio.run(record()))
