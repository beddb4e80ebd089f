"""每条语句、每次提交前后都有一个点的连接与池；语句以 ``.sql`` 文件命名。"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from psycopg import AsyncConnection, AsyncCursor, AsyncTransaction, pq

import kaguan
from kaguan.database.sql import load

T = TypeVar("T")
WORDS = 4  # 不来自 .sql 文件的语句，取头几个词为名
ROOT = Path(kaguan.__file__).parent


class Stepper(Protocol):
    """一个被模拟的进程：在每个点上停得住、死得了。"""

    alive: bool
    connections: list[SteppedConnection]

    async def point(self, operation: str, side: str) -> None: ...

    async def effect(self, operation: str, action: Callable[[], Awaitable[T]]) -> T:
        """一个效果，前后各一个点。"""
        await self.point(operation, "before")
        result = await self.fly(action)
        await self.point(operation, "after")
        return result

    async def fly(self, action: Callable[[], Awaitable[T]]) -> T:
        """没有点的往返（借连接、BEGIN）。"""
        ...

    async def saw(self, cursor: AsyncCursor[Any], name: str, parameters: Any) -> None:
        """刚做完一条语句。"""


@cache
def names() -> Mapping[str, str]:
    """随包发布的语句，文本 → ``房间.名字``。"""
    named = {}
    for path in sorted(ROOT.rglob("sql/*.sql")):
        package = ".".join(("kaguan", *path.parents[1].relative_to(ROOT).parts))
        named[str(load(package, path.stem))] = f"{path.parents[1].name}.{path.stem}"
    return named


def name_of(query: object) -> str:
    text = query.decode() if isinstance(query, bytes) else str(query)
    return names().get(text) or " ".join(text.split()[:WORDS])


class SteppedCursor(AsyncCursor[Any]):
    async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        connection = self.connection
        process = connection.process if isinstance(connection, SteppedConnection) else None
        run, name = super().execute, name_of(query)
        if process is None:
            return await run(query, params, **options)

        async def watched() -> Self:
            await run(query, params, **options)
            await process.saw(self, name, params)
            return self

        return await process.effect(name, watched)


class SteppedConnection(AsyncConnection[tuple[Any, ...]]):
    """``process`` 是此刻借着它的；没有就和寻常的连接一样。"""

    process: Stepper | None = None

    @asynccontextmanager
    async def transaction(self, *args: Any, **options: Any) -> AsyncIterator[AsyncTransaction]:
        process, inner = self.process, super().transaction(*args, **options)
        if process is None:
            async with inner as plain:
                yield plain
            return
        transaction = await process.fly(inner.__aenter__)
        try:
            yield transaction
            await process.point("commit", "before")
        except BaseException as error:  # 什么错都要替它回滚
            if not process.alive:
                await self.close()  # 死者不收拾：断开了，就没有要等的回滚
            await process.fly(functools.partial(inner.__aexit__, type(error), error, error.__traceback__))
            raise
        await process.fly(lambda: inner.__aexit__(None, None, None))
        await process.point("commit", "after")


class SteppedPool:
    """几个进程的池；``who`` 说此刻是谁在借。空闲的连接共用，死者用过的不再用。"""

    def __init__(
        self,
        who: Callable[[], Stepper | None],
        spare: list[SteppedConnection],
        connect: Callable[[], Awaitable[SteppedConnection]],
    ) -> None:
        self._who = who
        self._spare = spare
        self._connect = connect

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[SteppedConnection]:
        connection = await self.getconn(timeout)
        try:
            yield connection
        finally:
            await self.putconn(connection)

    async def getconn(self, timeout: float | None = None) -> SteppedConnection:
        process = self._who()
        async with asyncio.timeout(timeout):
            connection = await (self._take() if process is None else process.fly(self._take))
        connection.process = process
        if process is not None:
            process.connections.append(connection)
        return connection

    async def putconn(self, connection: SteppedConnection) -> None:
        process, connection.process = connection.process, None
        if process is not None and connection in process.connections:
            process.connections.remove(connection)
        idle = connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
        if (process is None or process.alive) and not connection.closed and idle:
            self._spare.append(connection)
        else:
            await connection.close()

    async def _take(self) -> SteppedConnection:
        while self._spare:
            connection = self._spare.pop()
            if not connection.closed:
                return connection
        return await self._connect()


async def connect(url: str, **options: Any) -> SteppedConnection:
    """``options`` 是 libpq 的；一条语句的计划不留到下一次。"""
    return await SteppedConnection.connect(
        url, autocommit=True, cursor_factory=SteppedCursor, prepare_threshold=None, **options
    )


def pids_of(connections: list[SteppedConnection]) -> list[int]:
    return [connection.pgconn.backend_pid for connection in connections if not connection.closed]
