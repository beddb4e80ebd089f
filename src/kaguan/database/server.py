"""PostgreSQL 这台服务器此刻怎样：谁等着谁，谁的快照压着清理，死行、连接、备库。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import psycopg
from prometheus_client import CollectorRegistry
from psycopg.rows import class_row

from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.telemetry.metrics import Declaring

PACKAGE = "kaguan.database"
SESSIONS, TABLES, STATEMENTS = 20, 40, 10
MOST_PID = 2**31 - 1
# 要 shared_preload_libraries 与这个库里的 CREATE EXTENSION；只有这个角色自己的语句
SLOW = """
select left(btrim(regexp_replace(query, '--[^\\n]*\\n?', '', 'g')), 300) as text,
       calls, total_exec_time / 1000 as seconds, mean_exec_time / 1000 as mean
from pg_stat_statements
where dbid = (select oid from pg_database where datname = current_database())
  and userid = (select oid from pg_roles where rolname = current_user)
order by total_exec_time desc
limit %(limit)s
"""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Server:
    """``allowed`` 是普通角色至多开几条连接；``open`` 是这个库里开着的，``ours`` 是其中我们进程的。

    Attributes:
        oldest: 最老的事务开了几秒；别的角色的看不见，不算。
        prepared: 两阶段提交悬着的，它们也压着清理。
        kept_wal: 复制槽压着几字节的 WAL；没有槽、是备库即 None。
    """

    version: str
    started_at: datetime
    bytes: int
    in_recovery: bool
    autovacuum: bool
    allowed: int
    open: int
    ours: int
    oldest: float
    prepared: int
    kept_wal: int | None
    now: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """一个开着事务或等着锁的会话；别的角色的几项是 None：要 pg_read_all_stats 才看得见。

    Attributes:
        snapshot: 它的快照落后几个事务：它之后的死行都清不掉。
        waits: 在等什么。
        blocked_by: 挡着它的会话。
        statement: 我们进程的语句。
    """

    pid: int
    application: str
    role: str
    state: str | None
    seconds: float | None
    snapshot: int | None
    waits: str | None
    blocked_by: list[int]
    statement: str | None


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    live: int
    dead: int
    updated: int
    hot: int
    vacuumed_at: datetime | None
    analyzed_at: datetime | None
    bytes: int

    @property
    def hot_share(self) -> float | None:
        """更新里没有碰索引的占多少。"""
        return self.hot / self.updated if self.updated else None


@dataclass(frozen=True, slots=True)
class Statement:
    """一种语句，累计的：``seconds`` 合计，``mean`` 平均。"""

    text: str
    calls: int
    seconds: float
    mean: float


async def ask_server(connection: Connection, namespace: str) -> Server:
    [found] = await _rows(connection, Server, load(PACKAGE, "server"), namespace=namespace)
    return found


async def sessions(connection: Connection, namespace: str, pids: Sequence[int] | None = None) -> list[Session]:
    """开着事务的、等着锁的；给了 ``pids`` 就只看其中我们进程的，与挡着它们的。"""
    given = None if pids is None else [pid for pid in pids if pid <= MOST_PID]
    query = load(PACKAGE, "sessions")
    return await _rows(connection, Session, query, namespace=namespace, limit=SESSIONS, pids=given)


async def tables(connection: Connection) -> list[Table]:
    return await _rows(connection, Table, load(PACKAGE, "tables"), limit=TABLES)


async def slow_statements(connection: Connection) -> list[Statement] | None:
    """累计最久的几种；没有装 pg_stat_statements 就是 None。连接不在事务里。"""
    try:
        return await _rows(connection, Statement, SLOW, limit=STATEMENTS)
    except (psycopg.errors.UndefinedTable, psycopg.errors.ObjectNotInPrerequisiteState):
        return None


async def _rows(connection: Connection, kind: type[Row], query: str, **parameters: object) -> list[Row]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(query.encode(), parameters)
        return await cursor.fetchall()


class ServerMetrics(Declaring):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.connections_open = self._gauge("kaguan_database_server_connections", "这个库里开着的连接")
        self.connections_allowed = self._gauge(
            "kaguan_database_server_connections_allowed", "普通角色至多开几条连接（整台服务器）"
        )
        self.oldest_transaction = self._gauge(
            "kaguan_database_oldest_transaction_seconds", "这个库里最老的事务开了多久；别的角色的看不见，不算"
        )
        self.dead_rows = self._gauge("kaguan_database_dead_rows", "各表等着清理的死行，取最多的几张", "table")

    async def publish(self, pool: Pool, namespace: str) -> int:
        """采一次；返回 0：没有什么要转交去做。"""
        async with pool.connection() as connection:
            server, largest = await ask_server(connection, namespace), await tables(connection)
        self.connections_open.set(server.open)
        self.connections_allowed.set(server.allowed)
        self.oldest_transaction.set(server.oldest)
        self.dead_rows.clear()
        for table in largest:
            self.dead_rows.labels(table.name).set(table.dead)
        return 0
