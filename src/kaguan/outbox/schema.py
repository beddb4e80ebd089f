"""把协议的表建到别人的库里；卡管自己的库由迁移建，两者由测试比对。"""

from __future__ import annotations

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from kaguan.database.pool import Connection
from kaguan.outbox.tables import VIEW, Broker, Ordering, Outbox, ScheduleState, SealKey, Task, TaskEvent, Vanished, Work

TABLES = (Task, TaskEvent, Outbox, Work, Ordering, Broker, SealKey, Vanished, ScheduleState)


async def install(connection: Connection) -> None:
    """建好还没有的表与索引；已有的不动。一个事务，几个进程同时来也只建一次。"""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy 没有标注
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock(hashtext('kaguan.outbox.schema'))")
        for model in TABLES:
            table = model.__table__
            statements = [CreateTable(table, if_not_exists=True)]  # type: ignore[arg-type] # 声明式的表就是 Table
            statements += [CreateIndex(index, if_not_exists=True) for index in table.indexes]  # type: ignore[attr-defined, misc] # 同上
            for statement in statements:
                await connection.execute(str(statement.compile(dialect=dialect)).encode())
        await connection.execute("insert into tb_seal (id) values (1) on conflict do nothing")
        await connection.execute(VIEW)
