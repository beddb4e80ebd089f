"""别人的锁：谁挡着我们的语句，等不得的结束它的会话。不碰我们的表：它们锁住了，也说得出、动得了手。"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.errors import InsufficientPrivilege
from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.words.errors import conflict

PACKAGE = "kaguan.verdict"
PATIENCE = 0.2  # 秒：等锁不到这么久的不算；我们自己的等锁时限是一秒
CAP = 500  # 条：看这么多在等的语句
ENDING = 2_000  # 毫秒：等它真的断了


@dataclass(frozen=True, slots=True)
class Lock:
    """一个挡着我们的会话。

    Attributes:
        role: 它登录的角色；``application`` 是它自报的名字。
        seconds: 它的事务开了多久；别的角色的看不到，None。
        blocking: 等得最久的语句等了几秒：至少挡了这么久。
        blocked: 挡着我们的几条语句。
    """

    pid: int
    role: str
    application: str
    seconds: float | None
    blocking: float
    blocked: int


async def locks(connection: Connection, namespace: str) -> list[Lock]:
    async with connection.cursor(row_factory=class_row(Lock)) as cursor:
        asked = {"namespace": namespace, "patience": PATIENCE, "cap": CAP}
        await cursor.execute(load(PACKAGE, "locks"), asked)
        return await cursor.fetchall()


async def end(connection: Connection, namespace: str, pid: int) -> Lock:
    """结束会话 ``pid``：它没提交的回滚，锁随即放开。只结束此刻挡着我们的。

    Raises:
        DomainError: 1005，它没有挡着谁，或我们的角色结束不了它。
    """
    found = next((lock for lock in await locks(connection, namespace) if lock.pid == pid), None)
    if found is None:
        raise conflict("pid", f"会话 {pid} 此刻没有挡着我们", f"session {pid} does not block us now")
    try:
        await connection.execute("select pg_terminate_backend(%s, %s)", (pid, ENDING))
    except InsufficientPrivilege:
        raise conflict(
            "pid",
            f"我们的角色结束不了 {found.role} 的会话：要 grant pg_signal_backend；超级用户的，只有超级用户结束得了",
            f"our role may not end a session of {found.role}: grant it pg_signal_backend; "
            "one of a superuser, only a superuser ends",
        ) from None
    return found
