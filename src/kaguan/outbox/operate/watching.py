"""盯着几个任务直到各有结局。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.connecting import Connection
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import FINAL, TaskStatus

INTERVAL = 0.5  # 秒；进度至多每秒写一次，看得更勤没有用
SETTLED = FINAL | {TaskStatus.UNCERTAIN}  # 不明的在等人，等下去也不会变


@dataclass(frozen=True, slots=True)
class Watched:
    """A task as it is at this moment.

    Attributes:
        id: of the task.
        type: its name.
        status: of :class:`TaskStatus`.
        attempt: the attempt it is in, or was in last; 0 before the first.
        max_attempts: how many it has.
        progress: what ``attempt.report`` said last.
    """

    id: UUID
    type: str
    status: str
    attempt: int
    max_attempts: int
    progress: dict[str, Any] | None

    @property
    def settled(self) -> bool:
        """It has ended, or is uncertain and waits for a person."""
        return self.status in SETTLED


async def watch(
    connection: Connection, task_ids: Sequence[UUID], seconds: float, look: Callable[[list[Watched]], None]
) -> list[Watched]:
    """Look at tasks twice a second until each has ended or is uncertain.

    Example::

        async with shop.pool.connection() as connection:
            (task,) = await watch(connection, [accepted.task_id], 60, print)

    Args:
        connection: in autocommit, as those of ``shop.pool`` are.
        task_ids: those to look at; one that is not there is not waited for.
        seconds: how long at most.
        look: is called with what was seen, each time.

    Returns:
        The tasks as they were seen last.

    Raises:
        TimeoutError: some have not ended within ``seconds``.
    """
    async with asyncio.timeout(seconds) as limit:
        while not limit.expired():  # 时限的取消会被 psycopg 吞掉，只此一次
            async with connection.cursor(row_factory=class_row(Watched)) as cursor:
                await cursor.execute(load("kaguan.outbox.operate", "watch"), {"task_ids": list(task_ids)})
                found = await cursor.fetchall()
            look(found)
            if all(task.settled for task in found):
                return found
            await asyncio.sleep(INTERVAL)  # 没结的隔一会儿再问，总时限在外面
    raise TimeoutError
