"""工作单元：一次调用至多一条连接、一个事务。提交只在端点层发生。"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection

from api.http.keys import Services
from kaguan.database.engine import driver_of
from kaguan.database.pool import Connection


class Mode(Enum):
    """连接怎么用。"""

    TRANSACTION = "transaction"  # 写：惰性开启的一个事务，由端点层提交
    AUTOCOMMIT = "autocommit"  # 读：单条语句，不开事务
    DIRECT = "direct"  # 热路径：池里的 psycopg 连接，自动提交，不经 SQLAlchemy


class UnitOfWork:
    """惰性取连接：处理函数可以先做慢的事（散列密码），再碰数据库。"""

    def __init__(self, services: Services, mode: Mode) -> None:
        self._services = services
        self.mode = mode
        self._connection: AsyncConnection | None = None
        self._direct: Connection | None = None
        self._after_commit: list[Callable[[], object]] = []

    async def connection(self) -> AsyncConnection:
        """SQLAlchemy 连接；首次调用时取得。写路由里它已在事务中。"""
        if self._connection is None:
            connection = await self._services.engine.connect()
            self._connection = connection
            if self.mode is Mode.TRANSACTION:
                # 先由 SQLAlchemy 开事务（不多一次往返），raw() 的手写 SQL 才会随它提交
                await connection.begin()
            else:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    async def raw(self) -> Connection:
        """Psycopg 连接，给手写 SQL（任务与发件箱）用：与 :meth:`connection` 同一条、同一事务；DIRECT 时直接取自池。"""
        if self.mode is Mode.DIRECT:
            if self._direct is None:
                self._direct = await self._services.pool.getconn()
            return self._direct
        return await driver_of(await self.connection())

    async def release(self) -> None:
        """提前还连接（如事件流在等待时不该占着它）。未提交的回滚。"""
        if self._direct is not None:
            direct, self._direct = self._direct, None
            await self._services.pool.putconn(direct)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def after_commit(self, callback: Callable[[], object]) -> None:
        """提交成功之后调用（如按门铃）；回滚则不调用。"""
        self._after_commit.append(callback)

    async def commit(self) -> None:
        """只由端点层调用。"""
        if self._connection is not None and self.mode is Mode.TRANSACTION:
            await self._connection.commit()
        callbacks, self._after_commit = self._after_commit, []
        for callback in callbacks:
            callback()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """未提交的一律回滚，连接归还。"""
        await self.release()
