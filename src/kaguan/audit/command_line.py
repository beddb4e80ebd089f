"""留痕：谁在命令行上做了什么，与操作同一事务。"""

from __future__ import annotations

import getpass
import os

from kaguan.audit import store
from kaguan.audit.store import AuditEntry
from kaguan.database.pool import Connection

OTHERS = "select from tb_installation where name <> 'kaguan'"


def actor(via: str = "cli") -> str:
    """``cli:用户名``；没有名字的（容器里常见）用用户号。"""
    try:
        return f"{via}:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"{via}:{os.getuid()}"


async def audited(connection: Connection, action: str, target: str | None = None, **detail: object) -> None:
    """写一行审计；动作的名字与 API、控制台相同。别的应用的发件箱没有审计：谁做的，任务的事件里有。"""
    if await (await connection.execute(OTHERS)).fetchone() is not None:
        return
    await store.insert(connection, AuditEntry(action, target, {**detail, "via": "cli"}), actor(), None, "")
