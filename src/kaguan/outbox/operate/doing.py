"""一个在跑的任务此刻：谁在做，停在哪一行，手里的连接在等哪条语句、哪把锁。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.database.pool import Connection
from kaguan.database.server import Session, sessions
from kaguan.outbox.errors import TaskNotFoundError, TaskStatusError
from kaguan.outbox.operate.record import find
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.outbox.work import stacks
from kaguan.presence.census import Process, take_census
from kaguan.queues.keys import namespace_of
from kaguan.words.reasons import Reason

CENSUS_TIMEOUT = 0.5  # 秒


@dataclass(frozen=True, slots=True)
class Doing:
    """做着它的 worker（名片看不见的，说不出在哪里），与它说的。

    Attributes:
        since: 这次尝试何时开始的。
        note: 说不出停在哪里的，为什么。
        frames: 调用栈，外层的在前：``file``、``line``、``function``、``source``。
        sessions: 处理器手里的数据库连接，与挡着它们的。
    """

    task_id: UUID
    type: str
    worker: str
    since: datetime | None
    progress: dict[str, Any] | None
    version: str | None
    host: str | None
    pid: int | None
    note: Reason | None
    frames: Sequence[dict[str, Any]]
    sessions: Sequence[Session]


async def doing(connect: Callable[[], AbstractAsyncContextManager[Connection]], redis: Redis, task_id: UUID) -> Doing:
    """问做着它的 worker；等它答的时候不占着数据库的连接。

    Raises:
        TaskNotFoundError: 没有这个任务。
        TaskStatusError: 它不在跑。
    """
    async with connect() as connection:
        task = await find(connection, task_id)
    if task is None:
        raise TaskNotFoundError
    if task.status != TaskStatus.RUNNING or task.worker is None:
        raise TaskStatusError(Reason("outbox.not_running", {"status": task.status}))
    told, card, found = await stacks.ask(redis, task.worker, task_id), await _card(redis, task.worker), list[Session]()
    if told is not None and told.sessions:
        async with connect() as connection:
            found = await sessions(connection, namespace_of(redis), told.sessions)
    return Doing(
        task_id=task.id,
        type=task.type,
        worker=task.worker,
        since=task.started_at,
        progress=task.progress,
        version=None if card is None else card.version,
        host=None if card is None else card.host,
        pid=None if card is None else card.pid,
        note=_note(told),
        frames=[] if told is None else [frame.model_dump() for frame in told.frames],
        sessions=found,
    )


def _note(told: stacks.Stack | None) -> Reason | None:
    if told is None:
        return Reason("outbox.stack_silent", {"seconds": stacks.PATIENCE})
    return None if told.frames else Reason("outbox.stack_elsewhere")


async def _card(redis: Redis, worker: str) -> Process | None:
    try:
        async with asyncio.timeout(CENSUS_TIMEOUT):
            return next((one for one in (await take_census(redis)).of("worker") if one.name == worker), None)
    except (RedisError, OSError, TimeoutError):
        return None
