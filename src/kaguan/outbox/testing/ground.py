"""一遍遍从同一个样子开始的库：每张表都记下，跑过一遍就放回去；死者的会话断开，租约到期。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.outbox.recover import gate
from kaguan.outbox.schema import install, install_sql
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing.stepped import SteppedConnection, pids_of
from kaguan.outbox.vocabulary import FIRST_ID

PACKAGE = "kaguan.outbox.testing"
PATIENCE = 30.0  # 秒：断开、等语句做完，各至多这么久
HASTY = "set synchronous_commit = off"  # 一遍遍地提交，不必等落盘
PAGE = 1_000
LOOK = 0.002  # 秒；隔这么久看一眼
LOOKING = "select set_config('search_path', quote_ident(%s) || ', ' || current_setting('search_path'), false)"
TABLE = "create table "
DELETE = sql.SQL("delete from {}")
KEEP = sql.SQL("create temp table {} as table {}")
FILL = sql.SQL("insert into {} ({}) overriding system value select {} from {}")
NOTE = sql.SQL("delete from {}; insert into {} table {}")
DROP = sql.SQL("drop table if exists {}, {}")
COUNT = sql.SQL("(select count(*) from {})")
KEPT = frozenset({"tb_seal", "tb_broker", "tb_installation"})  # 装好时就有行的
# 放回去的时候触发器不响；不是超级用户的，只好让它响
UNTRIGGERED = """
select set_config('session_replication_role', 'replica', true) from pg_roles where rolname = current_user and rolsuper
"""


@dataclass(frozen=True, slots=True)
class Table:
    """一张表；``parents`` 是外键指向的。"""

    oid: int
    schema: str
    name: str
    columns: Sequence[str]
    parents: Sequence[int]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def kept(self) -> sql.Identifier:
        """记着它的临时表。"""
        return sql.Identifier(f"kaguan_before_{self.oid}")

    @property
    def accepted(self) -> sql.Identifier:
        """受理之后的样子，我们的表才有。"""
        return sql.Identifier(f"kaguan_accepted_{self.oid}")

    def filled(self, source: sql.Identifier) -> sql.Composed:
        columns = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        return FILL.format(self.identifier, columns, columns, source)


@dataclass(frozen=True, slots=True)
class Verdict:
    """一个任务怎样了。"""

    status: str
    last_error: dict[str, Any] | None
    is_used_up: bool
    not_happened: int


@dataclass(slots=True)
class Ground:
    """``admin`` 是自己的一条，自动提交；``spare`` 是各进程共用的空闲连接；``ours`` 是发件箱自己的表。"""

    admin: Connection
    spare: list[SteppedConnection]
    ours: frozenset[str]
    _tables: list[Table] = field(default_factory=list)
    _restoring: list[sql.Composed] = field(default_factory=list)
    _known: list[int] = field(default_factory=list)

    async def empty(self) -> None:
        """我们的表都空了。"""
        ours = [table for table in reversed(await self._sorted()) if table.name in self.ours - KEPT]
        await self._together([DELETE.format(table.identifier) for table in ours])

    async def keep(self) -> None:
        """此刻的样子，以后一次次回到这里。"""
        self._tables = await self._sorted()
        self._restoring = [DELETE.format(table.identifier) for table in reversed(self._tables)]
        for table in self._tables:
            copied = await self.admin.execute(KEEP.format(table.kept, table.identifier))
            if table in self._ours:
                await self.admin.execute(KEEP.format(table.accepted, table.identifier))
            if copied.rowcount:
                self._restoring.append(table.filled(table.kept))

    async def forget(self) -> None:
        """回到记下的样子，不再记着。"""
        await self.restore()
        for table in self._tables:
            await self.admin.execute(DROP.format(table.kept, table.accepted))

    async def restore(self) -> None:
        """回到记下的样子；此刻的会话是寻常的。"""
        await self._together(self._restoring)
        cursor = await self.admin.execute(load(PACKAGE, "strangers"), {"ours": [], "known": []})
        self._known = [row[0] for row in await cursor.fetchall()]

    async def note_accepted(self) -> None:
        """受理之后的样子：忘了后来的，就回到这里。"""
        noted = [NOTE.format(table.accepted, table.accepted, table.identifier) for table in self._ours]
        await self._together(noted)

    async def lose_tail(self, types: TaskTypes) -> None:
        """一台落后的备库顶了上来：忘了受理之后的；照 relay 那样核对历史，记在外面的都不可信。"""
        emptied = [DELETE.format(table.identifier) for table in reversed(self._ours)]
        filled = [table.filled(table.accepted) for table in self._ours]
        await self._together([*self._restoring, *emptied, *filled])
        async with self.admin.transaction():
            here = await gate.server(self.admin)
            await gate.close_gate(self.admin)
            page, _ = await gate.doubtful_due(self.admin, types.once, here.now + gate.SKEW, FIRST_ID, PAGE)
            await gate.doubt(self.admin, page, types.redelivered)
            await gate.open_gate(self.admin, here, None)

    @property
    def _ours(self) -> list[Table]:
        return [table for table in self._tables if table.name in self.ours]

    async def _together(self, statements: Sequence[sql.Composed]) -> None:
        """一个事务，一次往返。"""
        async with self.admin.transaction():
            await self.admin.execute(sql.SQL("; ").join([sql.SQL(UNTRIGGERED), *statements]))

    async def _sorted(self) -> list[Table]:
        """外键指向的在前。

        Raises:
            ValueError: 外键成环。
        """
        async with self.admin.cursor(row_factory=class_row(Table)) as cursor:
            await cursor.execute(load(PACKAGE, "tables"), {})
            found = {table.oid: table for table in await cursor.fetchall()}
        try:
            order = list(TopologicalSorter({oid: table.parents for oid, table in found.items()}).static_order())
        except CycleError as circle:
            names = " → ".join(found[oid].name for oid in circle.args[1])
            raise ValueError(f"foreign keys go in a circle / 外键成环：{names}") from None
        return [found[oid] for oid in order if oid in found]

    async def counts(self) -> dict[str, int]:
        """客人的每张表有几行。"""
        theirs = [table for table in self._tables if table.name not in self.ours]
        if not theirs:
            return {}
        counting = sql.SQL(", ").join(COUNT.format(table.identifier) for table in theirs)
        row = await (await self.admin.execute(sql.SQL("select {}").format(counting))).fetchone()
        return dict(zip((f"{table.schema}.{table.name}" for table in theirs), row or (), strict=True))

    async def followers(self, task_id: UUID) -> list[tuple[Any, ...]]:
        return await (await self.admin.execute(load(PACKAGE, "followers"), {"task_id": task_id})).fetchall()

    async def verdict(self, task_id: UUID) -> Verdict:
        async with self.admin.cursor(row_factory=class_row(Verdict)) as cursor:
            await cursor.execute(load(PACKAGE, "verdict"), {"task_id": task_id})
            found = await cursor.fetchone()
        if found is None:
            raise LookupError(f"the task is gone / 任务不见了：{task_id}")
        return found

    async def expire_leases(self, worker: str | None = None) -> None:
        await self.admin.execute(load(PACKAGE, "expire_leases"), {"worker": worker})

    async def is_blocked(self, connections: list[SteppedConnection]) -> bool:
        """有没有在等别人的锁。"""
        cursor = await self.admin.execute(load(PACKAGE, "blocked"), {"pids": pids_of(connections)})
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def terminate(self, connections: list[SteppedConnection]) -> None:
        await self._end(pids_of(connections))

    async def bury(self, connections: list[SteppedConnection]) -> None:
        """断开一个死者：发出去的语句做完，没提交的回滚；它自己另开的会话也在内。"""
        own = pids_of(connections)
        parameters = {"ours": pids_of(self.spare), "known": self._known}
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            cursor = await self.admin.execute(load(PACKAGE, "strangers"), parameters)
            found = await cursor.fetchall()
            if not any(busy for _, busy in found) or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(LOOK)  # 忙的等它停，到点就断
        await self._end([*own, *(pid for pid, _ in found if pid not in own)])

    async def _end(self, pids: list[int]) -> None:
        if not pids:
            return
        await self.admin.execute(load(PACKAGE, "terminate"), {"milliseconds": 0, "pids": pids})
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < deadline:  # 不用函数自己的等：它十分之一秒才看一眼
            row = await (await self.admin.execute(load(PACKAGE, "gone"), {"pids": pids})).fetchone()
            if row is not None and row[0]:
                return
            await asyncio.sleep(LOOK)  # 断没断由服务器说，总时限在外面


@asynccontextmanager
async def ground(url: str, name: str, spare: list[SteppedConnection]) -> AsyncIterator[Ground]:
    """``name`` 的发件箱在 ``url`` 上，装好了。"""
    async with await AsyncConnection.connect(url, autocommit=True) as admin:
        await install(admin, name)
        await look_into(admin, name)
        made = (line.removeprefix(TABLE) for line in install_sql(name).splitlines() if line.startswith(TABLE))
        yield Ground(admin, spare, frozenset(line.partition(" ")[0] for line in made))


async def look_into(connection: Connection, name: str) -> None:
    """这条连接看 ``name`` 的表；提交不等落盘。"""
    await connection.execute(HASTY)
    await connection.execute(LOOKING, (name,))
