"""连接池：每个进程一个。"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, cast

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from kaguan.config.model import Database
from kaguan.database.checked_pool import CheckedPool, PooledConnection
from kaguan.database.connecting import Connection, connection_arguments, open_connection, put_limits_in_force, writable
from kaguan.database.observed import ObservedCursor, observed_cursor
from kaguan.flow.backoff import while_starting
from kaguan.words.log import get_logger

log = get_logger(__name__)

# 秒：一条连不上的，退避着再试这么久；之后由要借的人来试，一次不成也只等一两秒。长了，库回来之后还在退避
RECONNECT_TIMEOUT = 4.0

Pool = AsyncConnectionPool[Connection]

# 收下一件「提交之后」才做的事；回滚了就不做
AfterCommit: TypeAlias = Callable[[Callable[[], None]], None]

# 故障时的正常后果，不是程序错误。
# 事务里等久了、事务太长被收走会话，切换之后连到只读的备库，psycopg 却归为 InternalError
CONNECTION_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
)
# 会过去的：过一会儿再来就是了
PASSING_ERRORS = (PoolTimeout, TimeoutError, *CONNECTION_ERRORS)
# psycopg 也归在 OperationalError 之下，却只是这条语句没做成（等锁、被取消、互相等），数据库还在
STATEMENT_ERRORS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


def waits_for_standby(pool: Pool) -> bool:
    """提交等着同步备库，而它不在。"""
    return isinstance(pool, CheckedPool) and pool.waits_for_standby


def at_once(tell: Callable[[], None]) -> None:
    """自动提交的连接：语句写完就已提交。"""
    tell()


@asynccontextmanager
async def transaction(connection: Connection) -> AsyncIterator[AfterCommit]:
    """一个事务；给出的收下提交之后才做的事，回滚了、提交不成就不做。``connection`` 须是自动提交的。"""
    told: list[Callable[[], None]] = []
    async with connection.transaction():
        yield told.append
    for tell in told:
        tell()


def is_away(error: Exception) -> bool:
    """数据库不在：此刻再试别的语句也是白试。"""
    return isinstance(error, PASSING_ERRORS) and not isinstance(error, STATEMENT_ERRORS)


class DatabaseUnavailableError(Exception):
    """PostgreSQL cannot be reached when the connections are opened, after as many tries as are configured."""


async def wait_for_database(config: Database, process: str) -> None:
    """启动时等 PostgreSQL：指数退避加抖动，至多 ``connect_attempts`` 次。

    Raises:
        DatabaseUnavailableError: 次数用尽。
    """

    async def connect(attempt: int) -> None:
        log.info("连接数据库", attempt=attempt)
        await (await open_connection(config, process)).close()

    try:
        await while_starting(connect, psycopg.OperationalError, config.connect_attempts, config.connect_backoff)
    except psycopg.Error as error:
        raise DatabaseUnavailableError(
            f"连不上 PostgreSQL（试了 {config.connect_attempts} 次）：{str(error).splitlines()[0]}；"
            "请检查它的地址与服务器是否在运行 / PostgreSQL cannot be reached: check its URL and whether it runs"
        ) from None


@asynccontextmanager
async def open_pool(
    config: Database, process: str, *, planned_once: bool = False, alone: bool = False
) -> AsyncIterator[CheckedPool]:
    """打开本进程唯一的连接池；离开时关闭全部连接。

    池里的连接是自动提交的：单条语句一次往返；需要事务就用 ``connection.transaction()``。
    只收发任务的进程用 ``planned_once``：语句各计划一遍就一直用，不走全表。只看别人的用 ``alone``，见
    :func:`kaguan.database.connecting.put_limits_in_force`。

    Raises:
        DatabaseUnavailableError: 启动时连不上。
    """
    await wait_for_database(config, process)

    async def configure(connection: Connection) -> None:
        connection = cast("PooledConnection", connection)
        await put_limits_in_force(connection, config, planned_once=planned_once, alone=alone)
        pool.stay_with(connection)
        connection.cursor_factory = observed_cursor(config.slow_query)
        connection.add_notice_handler(pool.heed)
        connection.rested_at = time.monotonic()

    pool = CheckedPool(
        writable(config.url.get_secret_value()),
        check_idle=config.check_idle,
        min_size=min(config.pool_min, config.pool_max),
        max_size=config.pool_max,
        timeout=config.acquire_timeout,
        kwargs={"autocommit": True, **connection_arguments(config, process)},
        configure=configure,
        reconnect_timeout=RECONNECT_TIMEOUT,
        max_idle=300,
        max_lifetime=config.connection_max_age,
        name=f"kaguan-{process}",
        close_returns=True,
        open=False,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close(timeout=5)


__all__ = [
    "CONNECTION_ERRORS",
    "Connection",
    "DatabaseUnavailableError",
    "ObservedCursor",
    "Pool",
    "PooledConnection",
    "open_connection",
    "open_pool",
    "wait_for_database",
]
