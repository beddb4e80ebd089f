"""给写业务代码的人的测试工具：断言受理了什么；不要 Redis、不起进程，就地把发件箱里的全做完。

与生产同一条路：同样的认领、同样的处理器外壳、同样的结算与重试；只是不经 relay 与队列。用法见使用指南「写测试」。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from kaguan.config.model import Tasks
from kaguan.config.model import Worker as WorkerConfig
from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.outbox.worker import Worker

WORKER = "inline"
PAGE = 100
ROUNDS = 1_000  # 处理器若总在生出新任务，到此为止


@dataclass(frozen=True, slots=True)
class AcceptedTask:
    """受理过的一个任务。"""

    id: UUID
    queue: str
    request_id: str | None
    principal: str
    status: str
    payload: dict[str, Any]


async def accepted(connection: Connection, task_type: TaskType[Any]) -> list[AcceptedTask]:
    """受理过的这种任务，按受理的次序；看得见本事务里还没提交的。"""
    async with connection.cursor(row_factory=class_row(AcceptedTask)) as cursor:
        await cursor.execute(load("kaguan.outbox.accept", "accepted"), {"type": task_type.name})
        return await cursor.fetchall()


async def assert_accepted(
    connection: Connection, task_type: TaskType[Any], *, count: int = 1, queue: str | None = None, **payload: object
) -> list[AcceptedTask]:
    """断言恰好受理了 ``count`` 个这种任务，载荷里有给出的这些字段（其余不论）；返回它们。

    Raises:
        AssertionError: 个数不对；消息里列出受理了什么。
    """
    found = await accepted(connection, task_type)
    matching = [
        task
        for task in found
        if (queue is None or task.queue == queue) and all(task.payload.get(name) == payload[name] for name in payload)
    ]
    if len(matching) != count:
        wanted = f"{task_type} {payload or ''} × {count}".replace("  ", " ")
        listed = "\n".join(f"  {task.queue} {task.payload}" for task in found) or "  （一个也没有）"
        raise AssertionError(f"应受理 {wanted}，实有 {len(matching)} 个相符。受理过的 {task_type}：\n{listed}")
    return matching


@dataclass(slots=True)
class Recorder:
    """记下每次尝试的处理器：依次给出 ``outcomes``，用完了一律成功；谁也不叫。"""

    outcomes: list[Outcome] = field(default_factory=list)
    attempts: list[Attempt[Any]] = field(default_factory=list)

    async def __call__(self, attempt: Attempt[Any]) -> Outcome:
        attempt.call_nobody()
        self.attempts.append(attempt)
        return self.outcomes.pop(0) if self.outcomes else Done()


async def drain(
    pool: Pool,
    handlers: Mapping[TaskType[Any], Handler[Any]],
    tasks: Tasks | None = None,
    worker: WorkerConfig | None = None,
    *,
    skip_waits: bool = False,
) -> Counter[str]:
    """就地做完发件箱里的一切（途中新生的也算）；返回做完之后各状态几个任务。

    Args:
        pool: 数据库。
        handlers: 用到的任务类型各一个；遇到没给的就报错，而不是悄悄跳过。
        tasks: 重试策略。
        worker: 时限。
        skip_waits: 不等退避与定时，当它们都已到期。

    Raises:
        LookupError: 遇到没有处理器的任务类型。
        RuntimeError: 做了一千轮还没完。
    """
    execution = Worker(pool, None, handlers, worker, tasks, name=WORKER).execution
    known = {one.name for one in handlers}
    touched: set[UUID] = set()
    for _ in range(ROUNDS):
        async with pool.connection() as connection, connection.transaction():
            parameters = {"skip_waits": skip_waits, "limit": PAGE}
            rows = await (await connection.execute(load("kaguan.outbox.deliver", "take_due"), parameters)).fetchall()
            unknown = sorted({row[2] for row in rows} - known)
            if unknown:
                raise LookupError(f"没有给处理器：{unknown}")
        if not rows:
            return await _statuses(pool, touched)
        for task_id, delivery, _type in rows:
            touched.add(task_id)
            await execution({}, deliveries=[(str(task_id), delivery)])
    raise RuntimeError(f"{ROUNDS} 轮之后发件箱还不空")


async def _statuses(pool: Pool, task_ids: set[UUID]) -> Counter[str]:
    async with pool.connection() as connection:
        cursor = await connection.execute(load("kaguan.outbox.operate", "watch"), {"task_ids": list(task_ids)})
        return Counter([row[2] for row in await cursor.fetchall()])
