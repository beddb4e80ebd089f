"""库是哪一版，代码要哪一版。只看号，不装载 Alembic：号是版本文件名的开头，越新越大（由用例照 Alembic 核对）。"""

from __future__ import annotations

from pathlib import Path

from psycopg.errors import UndefinedTable

from kaguan.config.shipped import shipped
from kaguan.database.connecting import Connection

SCRIPTS = shipped("migrations")
START_ANEW = (
    "发布之前的程序建的库升不上来：请另建一个空库，要留的先导出 / "
    "a database of a build before the first release cannot be upgraded: start an empty one, dump first what to keep"
)


def revisions(scripts: Path = SCRIPTS) -> list[str]:
    """代码认得的，从第一版到要求的那一版。"""
    return sorted(path.name.partition("_")[0] for path in (scripts / "versions").glob("[0-9]*.py"))


async def current_revision(connection: Connection) -> str | None:
    """库里的版本；空库没有。"""
    try:
        cursor = await connection.execute("select version_num from alembic_version")
    except UndefinedTable:
        return None
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


def is_behind(revision: str | None) -> bool:
    """库还没有升到这份代码要的。比代码新的不算：退回一版时旧代码对着新的库。"""
    return revision is None or revision in revisions()[:-1]


def is_unreleased(revision: str | None) -> bool:
    """库是发布之前的程序建的：它的号比第一版的小。"""
    return revision is not None and revision < revisions()[0]
