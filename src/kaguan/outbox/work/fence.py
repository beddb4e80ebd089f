"""隔离：令牌三样（任务、投递、认领）都与库里相符才还归自己；旧的持有者写不进任何东西（I2）。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.errors import GateClosedError
from kaguan.outbox.vocabulary import TaskStatus

PACKAGE = "kaguan.outbox.work"
COLUMNS = ("task_ids", "deliveries", "claim_ids")  # 几个令牌，一样一列


class FencedError(Exception):
    """The task is no longer this worker's: its lease ran out, or it was cancelled. Nothing more is written.

    A handler lets it pass; whoever has the task now goes on.
    """

    def __str__(self) -> str:
        return "the task is no longer this worker's / 任务已不归这个 worker"


class Token(NamedTuple):
    """数据库丢了尾巴，投递号会重复，随机的认领号不会（docs/adr/0032）。"""

    task_id: UUID
    delivery: int
    claim_id: UUID


@dataclass(slots=True)
class Fence:
    """一次认领的写入都经这里。"""

    pool: Pool
    token: Token
    _after_commit: list[Callable[[], None]] = field(default_factory=list)

    @asynccontextmanager
    async def transaction(self, *, check: bool = True) -> AsyncIterator[Connection]:
        """锁住任务行、确认仍归自己的事务；``check=False`` 是里面的语句自己验令牌的，不必先锁。

        Raises:
            FencedError: 令牌已失效；事务回滚。
            GateClosedError: 还归自己，历史却没有核对完；事务回滚。
        """
        self._after_commit.clear()
        async with self.pool.connection() as connection, connection.transaction():
            if check:
                cursor = await connection.execute(load(PACKAGE, "fence"), self.token._asdict())
                if await cursor.fetchone() is None:
                    raise await self.failed(connection)
            yield connection
        told, self._after_commit = self._after_commit, []
        for tell in told:
            tell()

    def after_commit(self, tell: Callable[[], None]) -> None:
        """提交之后才做的；回滚了就不做。"""
        self._after_commit.append(tell)

    async def failed(self, connection: Connection) -> FencedError:
        """语句没有写成。

        Raises:
            GateClosedError: 还归自己：是历史没有核对完，过一会儿再来。
        """
        await self.recorded(connection)
        return FencedError()

    async def recorded(self, connection: Connection) -> tuple[str, int, UUID] | None:
        """任务当前的（状态，投递号，认领号）；没有此任务则为 None。

        Raises:
            GateClosedError: 仍归自己，而且在执行：没写成的是历史没有核对完。
        """
        cursor = await connection.execute(load(PACKAGE, "outcome_of"), {"task_id": self.token.task_id})
        now = await cursor.fetchone()
        if now == (TaskStatus.RUNNING, self.token.delivery, self.token.claim_id):
            raise GateClosedError
        return now
