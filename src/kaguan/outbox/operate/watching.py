"""盯着几个任务直到各有结局。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import FINAL, TaskStatus

INTERVAL = 0.5  # 秒；进度至多每秒写一次，看得更勤没有用
SETTLED = FINAL | {TaskStatus.UNCERTAIN}  # 不明的在等人，等下去也不会变


@dataclass(frozen=True, slots=True)
class Watched:
    """一个任务此刻的样子。"""

    id: UUID
    type: str
    status: str
    attempt: int
    max_attempts: int
    progress: dict[str, Any] | None

    @property
    def settled(self) -> bool:
        return self.status in SETTLED


async def watch(
    connection: Connection, task_ids: Sequence[UUID], seconds: float, look: Callable[[list[Watched]], None]
) -> list[Watched]:
    """每 ``INTERVAL`` 秒看一次，交给 ``look``，直到都有结局。连接须是自动提交的。

    Raises:
        TimeoutError: ``seconds`` 秒之后还有没结束的。
    """
    async with asyncio.timeout(seconds):
        while True:
            async with connection.cursor(row_factory=class_row(Watched)) as cursor:
                await cursor.execute(load("kaguan.outbox.operate", "watch"), {"task_ids": list(task_ids)})
                found = await cursor.fetchall()
            look(found)
            if all(task.settled for task in found):
                return found
            await asyncio.sleep(INTERVAL)
