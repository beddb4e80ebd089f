"""连接池：每个进程一个，SQLAlchemy 引擎也坐在它上面，两者共用连接、上限与指标。"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, cast

import psycopg
import stamina
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from kaguan.database.connecting import (
    Connection,
    LimitedConnection,
    connection_arguments,
    open_connection,
    put_limits_in_force,
)
from kaguan.database.observed import ObservedCursor, observed_cursor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.config.model import Database

log = structlog.get_logger(__name__)

Pool = AsyncConnectionPool[Connection]

# 收下一件「提交之后」才做的事；回滚了就不做
AfterCommit: TypeAlias = Callable[[Callable[[], None]], None]

# 故障时的正常后果，不是程序错误。
# 事务里等久了被收走会话、切换之后连到只读的备库，psycopg 却归为 InternalError
CONNECTION_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
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


class PooledConnection(LimitedConnection):
    """``close`` 即归还（SQLAlchemy 用的就是它），断了的也一样。

    psycopg 的 ``close_returns`` 对已断的连接直接返回、不还给池：每断一条，池就永远少一个名额，用完即不可用。
    """

    def retire(self) -> None:
        """还给池时换一条新的。

        libpq 的发送缓冲长到发过的最大一条语句那么大，连接活着就不缩：发过十几 MB 的连接留着，池里每条都会占这么多。
        """
        self._expire_at = 0.0

    async def close(self) -> None:
        pool = self._pool
        if self.closed and isinstance(pool, AsyncConnectionPool):
            await pool.putconn(self)
            self._pool = None  # 只还一次
            return
        await super().close()


def at_once(tell: Callable[[], None]) -> None:
    """自动提交的连接：语句写完就已提交。"""
    tell()


def is_away(error: Exception) -> bool:
    """数据库不在：此刻再试别的语句也是白试。"""
    return isinstance(error, PASSING_ERRORS) and not isinstance(error, STATEMENT_ERRORS)


class DatabaseUnavailableError(Exception):
    """启动时按配置的次数重试之后，仍连不上 PostgreSQL。"""


async def wait_for_database(config: Database, process: str) -> None:
    """启动时等 PostgreSQL：指数退避，至多 ``connect_attempts`` 次。

    Raises:
        DatabaseUnavailableError: 次数用尽。
    """
    try:
        async for attempt in stamina.retry_context(
            on=psycopg.OperationalError,
            attempts=config.connect_attempts,
            timeout=None,
            wait_initial=config.connect_backoff,
            wait_max=30.0,
            wait_jitter=0,
        ):
            with attempt:
                log.info("连接数据库", attempt=attempt.num)
                connection = await open_connection(config, process)
                await connection.close()
    except psycopg.Error as error:
        raise DatabaseUnavailableError(
            f"连不上 PostgreSQL（试了 {config.connect_attempts} 次）：{str(error).splitlines()[0]}；"
            "请检查 KAGUAN_DATABASE__URL 与服务器是否在运行"
        ) from None


@asynccontextmanager
async def open_pool(config: Database, process: str) -> AsyncIterator[Pool]:
    """打开本进程唯一的连接池；离开时关闭全部连接。

    池里的连接是自动提交的：单条语句一次往返；需要事务就用 ``connection.transaction()``。

    Raises:
        DatabaseUnavailableError: 启动时连不上。
    """
    await wait_for_database(config, process)

    async def configure(connection: Connection) -> None:
        await put_limits_in_force(cast("PooledConnection", connection), config)
        connection.cursor_factory = observed_cursor(config.slow_query)

    async def reset(connection: Connection) -> None:
        await connection.set_autocommit(True)  # SQLAlchemy 借走时关了它（engine_on）

    pool = Pool(
        config.url.get_secret_value(),
        connection_class=PooledConnection,
        min_size=min(config.pool_min, config.pool_max),
        max_size=config.pool_max,
        timeout=config.acquire_timeout,
        kwargs={"autocommit": True, **connection_arguments(config, process)},
        configure=configure,
        reset=reset,
        reconnect_timeout=60,
        max_idle=300,
        name=f"kaguan-{process}",
        close_returns=True,
        open=False,
    )
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close(timeout=5)


def engine_on(pool: Pool) -> AsyncEngine:
    """SQLAlchemy 异步引擎，连接取自 ``pool``。用 ``engine.begin()`` 开事务。"""

    async def checkout() -> Connection:
        connection = await pool.getconn()
        try:
            # SQLAlchemy 自己管事务边界
            await connection.set_autocommit(False)
        except BaseException:  # 连取消也要先把连接还回去，否则池永远少一个
            await pool.putconn(connection)
            raise
        return connection

    return create_async_engine("postgresql+psycopg://", poolclass=NullPool, async_creator=checkout)


__all__ = [
    "CONNECTION_ERRORS",
    "Connection",
    "DatabaseUnavailableError",
    "ObservedCursor",
    "Pool",
    "engine_on",
    "open_connection",
    "open_pool",
    "wait_for_database",
]
