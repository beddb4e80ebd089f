"""SQLAlchemy 的引擎坐在连接池上，两者共用连接、上限与指标；读到一半断了的，再读一次。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from kaguan.database.connecting import Connection
from kaguan.database.pool import Pool

T = TypeVar("T")

# 服务器断的连接：管理员、崩溃、连接异常一类；客户端自己发觉的没有代号
CUT = ("57P01", "57P02", "08")


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

    return engine_over(checkout)


def engine_over(checkout: Callable[[], Awaitable[Connection]]) -> AsyncEngine:
    """SQLAlchemy 异步引擎，连接由 ``checkout`` 给，不在自动提交。"""
    return create_async_engine("postgresql+psycopg://", poolclass=NullPool, async_creator=checkout)


async def driver_of(connection: AsyncConnection) -> Connection:
    """SQLAlchemy 连接里头的那条 psycopg 连接，给手写 SQL 用：同一条、同一事务。"""
    return cast("Connection", (await connection.get_raw_connection()).driver_connection)


def was_cut(error: BaseException) -> bool:
    """连接断在半途：这一句做没做不知道。借不到连接、语句自己的错都不算。"""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(cause, psycopg.OperationalError) or isinstance(cause, (PoolTimeout, PoolClosed)):
        return False
    return cause.sqlstate is None or cause.sqlstate.startswith(CUT)


async def once_more(read: Callable[[], Awaitable[T]]) -> T:
    """只读的一件事：连接断在半途就马上再来一次，借到的多半是新的。会写的不能用它。"""
    try:
        return await read()
    except (psycopg.Error, DBAPIError) as error:
        if not was_cut(error):
            raise
    return await read()
