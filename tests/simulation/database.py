"""每条语句、每次提交前后都有一个点的连接与池；语句以 ``.sql`` 文件命名。"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection, AsyncCursor, AsyncTransaction, pq

from tests.simulation.process import Process
from tests.simulation.standby import SEARCH_PATH
from tests.support import statements
from tests.support.eventually import PATIENCE

WORDS = 4  # 不来自 .sql 文件的语句，取头几个词为名


# 语句文本 → ``房间.名字``
NAMES = {text: statements.name_of(path, ".") for path, text in statements.STATEMENTS.items()}


def name_of(query: object) -> str:
    text = query.decode() if isinstance(query, bytes) else str(query)
    return NAMES.get(text) or " ".join(text.split()[:WORDS])


class SteppedCursor(AsyncCursor[Any]):
    async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        connection = self.connection
        assert isinstance(connection, SteppedConnection)
        run, process, name = super().execute, connection.process, name_of(query)
        if process is None:
            return await run(query, params, **options)

        async def watched() -> Self:
            await run(query, params, **options)
            await process.witness.look(self, name, params)
            return self

        return await process.effect(name, watched)


class SteppedConnection(AsyncConnection[tuple[Any, ...]]):
    process: Process | None = None

    @asynccontextmanager
    async def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,
    ) -> AsyncIterator[AsyncTransaction]:
        process = self.process
        assert process is not None
        inner = super().transaction(savepoint_name, force_rollback)
        transaction = await process.fly(inner.__aenter__)
        try:
            yield transaction
            await process.point("commit", "before")
        except BaseException as error:
            await process.fly(functools.partial(inner.__aexit__, type(error), error, error.__traceback__))
            raise
        await process.fly(lambda: inner.__aexit__(None, None, None))
        await process.point("commit", "after")


class SteppedPool:
    """一个进程的池；空闲的连接各进程共用，死者用过的不再用。"""

    def __init__(self, process: Process, spare: list[SteppedConnection], url: str) -> None:
        self._process = process
        self._spare = spare
        self._url = url

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[SteppedConnection]:  # noqa: ARG002 签名随池
        connection = await self._process.fly(self._take)
        connection.process = self._process
        self._process.connections.append(connection)
        try:
            yield connection
        finally:
            self._process.connections.remove(connection)
            connection.process = None
            idle = connection.pgconn.transaction_status == pq.TransactionStatus.IDLE
            if self._process.alive and not connection.closed and idle:
                self._spare.append(connection)
            else:
                await connection.close()

    async def _take(self) -> SteppedConnection:
        while self._spare:
            connection = self._spare.pop()
            if not connection.closed:
                return connection
        return await connect(self._url)


async def connect(url: str) -> SteppedConnection:
    connection = await SteppedConnection.connect(
        url,
        autocommit=True,
        cursor_factory=SteppedCursor,
        prepare_threshold=None,
        options=f"-c statement_timeout={PATIENCE:.0f}s -c search_path={SEARCH_PATH}",
    )
    assert isinstance(connection, SteppedConnection)
    return connection


def terminate(admin: psycopg.Connection[Any], connections: list[SteppedConnection]) -> None:
    """像进程死去那样断开：没提交的回滚，等它真的断了。"""
    pids = [connection.pgconn.backend_pid for connection in connections if not connection.closed]
    statement = "select pg_terminate_backend(pid, %s) from unnest(%s::int[]) as pid"
    admin.execute(statement, (int(PATIENCE * 1000), pids))
