"""受理：一条语句，经库里的 ``outbox_accept``（I4）。写什么在这里定，何时提交由调用者定；并发的可以合并成一次提交。"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeAlias
from uuid import UUID

import orjson
import uuid_utils.compat as uuid7_source
from opentelemetry.trace import SpanContext
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb
from pydantic_core import PydanticSerializationError, to_json

from kaguan.database.group_commit import AWAITED, Gathering, GroupCommit
from kaguan.database.pool import AfterCommit, Connection, Pool, PooledConnection, at_once
from kaguan.database.sql import load
from kaguan.flow.time_slice import TimeSlice
from kaguan.outbox.accept.contract import PACKAGE
from kaguan.outbox.errors import RequestIdReusedError
from kaguan.outbox.naming import named
from kaguan.outbox.spans import batch_span, creation_context
from kaguan.outbox.task_type import P, TaskType
from kaguan.outbox.vocabulary import Priority, TaskStatus
from kaguan.telemetry.propagation import traceparent_of
from kaguan.words.errors import DomainError
from kaguan.words.log import get_logger
from kaguan.words.units import MIB

log = get_logger(__name__)

Count: TypeAlias = Callable[[str, str, int], None]  # 提交之后计数：类型、队列、个数

SYSTEM_PRINCIPAL = "system"
PATIENCE = 0.02  # 秒；一批写得比这更久（等锁、磁盘慢），备用道才接手，平时一条道批次更大、更省
RETIRE_ABOVE = 8 * MIB  # 字节；合并受理的一批到不了这么大
GROUP_BYTES = 4 * MIB  # 合并提交的载荷至多共这么多：大附件不与小邮件挤在一条语句里


@dataclass(frozen=True, slots=True)
class Submission(Generic[P]):
    """要受理的一个任务。

    ``request_id``、``ordering_key`` 各在 ``principal`` 内算：前者唯一，后者相同的按受理的次序一个接一个。

    Raises:
        TypeError: 载荷不是这种任务的。
    """

    type: TaskType[P]
    payload: P
    queue: Priority = Priority.DEFAULT
    principal: str = SYSTEM_PRINCIPAL
    request_id: str | None = None
    schedule_at: datetime | None = None  # 在这之前不执行
    ordering_key: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.payload, self.type.payload):
            raise TypeError(
                f"{self.type} carries {self.type.payload.__name__}, not {type(self.payload).__name__}"
                f" / {self.type} 的载荷是 {self.type.payload.__name__}"
            )


@dataclass(frozen=True, slots=True)
class Accepted:
    """What :meth:`Task.accept` answers; it holds once the transaction is committed.

    Attributes:
        task_id: of the task, a UUID of version 7; the same in all its attempts.
        status: ``PENDING``, or where the first task stands when the submission was repeated.
        replayed: the ``request_id`` came again; this is the first task, nothing new was written.
    """

    task_id: UUID
    status: TaskStatus
    replayed: bool = False


def uncounted(_type: str, _queue: str, _count: int) -> None:
    """不计数。"""


async def accept_one(
    connection: Connection,
    submission: Submission[Any],
    max_attempts: int,
    after_commit: AfterCommit | None = None,
    count: Count = uncounted,
) -> Accepted:
    """受理一个任务。

    自动提交、不在事务里的连接自成一次提交；别的都随调用者的事务，哪怕这是它的头一句。
    在事务里的给出 ``after_commit`` 才有日志与计数：回滚了的受理不许留下不存在的号。

    Raises:
        TypeError: 不是 psycopg 的异步连接。
        RequestIdReusedError: ``request_id`` 已用于内容不同的任务。
    """
    outcome = (await accept_many(connection, [submission], max_attempts, after_commit, count))[0]
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


async def accept_many(
    connection: Connection,
    submissions: Sequence[Submission[Any]],
    max_attempts: int,
    after_commit: AfterCommit | None = None,
    count: Count = uncounted,
) -> list[Accepted | DomainError]:
    """受理一批任务，仍是一条语句；逐个给出结果，次序与输入相同。

    Raises:
        TypeError: 不是 psycopg 的异步连接。
    """
    if not isinstance(connection, AsyncConnection):
        raise TypeError(
            f"受理要 psycopg 的异步连接（AsyncConnection），给的是 {type(connection).__name__}"
            " / a task is accepted through psycopg's AsyncConnection; of an SQLAlchemy session that is"
            " (await (await session.connection()).get_raw_connection()).driver_connection"
        )
    return await insert(connection, await stage(submissions), max_attempts, after_commit, count)


async def insert(
    connection: Connection,
    staged: Sequence[Staged],
    max_attempts: int,
    after_commit: AfterCommit | None = None,
    count: Count = uncounted,
) -> list[Accepted | DomainError]:
    """写入备好的一批任务与发件箱行。

    备好与写入分开：跟踪上下文属于提交它的请求，而写入可以合并；备好大的一批时也不必占着连接。
    """
    encoded = encode(staged, max_attempts)
    retire_after(connection, encoded)
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(load(PACKAGE, "accept"), {"tasks": Jsonb(None, dumps=lambda _: encoded)})
        rows = await cursor.fetchall()
    if after_commit is None and connection.info.transaction_status is TransactionStatus.IDLE:
        after_commit = at_once  # 不在谁的事务里：语句自成一次提交
    return answer(staged, rows, after_commit, count)


def retire_after(connection: Connection, encoded: bytes) -> None:
    """这一批若是大的，池里的这条连接用完就换。"""
    if len(encoded) > RETIRE_ABOVE and isinstance(connection, PooledConnection):
        connection.retire()


def encode(staged: Sequence[Staged], max_attempts: int) -> bytes:
    """交给 ``outbox_accept`` 的 JSON。"""
    return orjson.dumps([item.row(max_attempts) for item in staged])


def answer(
    staged: Sequence[Staged],
    rows: Iterable[Sequence[Any]],
    after_commit: AfterCommit | None,
    count: Count = uncounted,
) -> list[Accepted | DomainError]:
    """``outbox_accept`` 答的，逐个；提交之后才记日志、计数，没人说得出何时提交的就不记。"""
    outcomes: list[Accepted | DomainError] = []
    accepted: list[Staged] = []
    for item, (_, task_id, status, outcome) in zip(staged, rows, strict=True):
        if outcome == "conflict":
            outcomes.append(RequestIdReusedError())
            continue
        outcomes.append(Accepted(task_id, TaskStatus(status), replayed=outcome == "replayed"))
        if outcome == "accepted":
            accepted.append(item)
    if after_commit is not None:
        after_commit(partial(_tell, accepted, count))
    return outcomes


async def stage(submissions: Sequence[Submission[Any]]) -> list[Staged]:
    """备好一批；一批可有十几 MB，备几个就让别的请求走一圈。"""
    time_slice = TimeSlice()
    staged = []
    for one in submissions:
        staged.append(Staged.of(one))
        await time_slice.pause_when_used()
    return staged


def _tell(accepted: Sequence[Staged], count: Count) -> None:
    """已提交：记下个数，每种任务一行日志，合并写入的也是：一个任务一行要占受理的百分之几。"""
    kinds: dict[tuple[str, Priority], list[Staged]] = {}
    for item in accepted:
        kinds.setdefault((item.submission.type.name, item.submission.queue), []).append(item)
    for (task_type, queue), items in kinds.items():
        ids = named(
            [item.task_id for item in items],
            [traceparent_of(item.creation) for item in items],
            [item.submission.request_id for item in items],
        )
        log.info("受理任务", task_type=task_type, queue=queue, count=len(items), **ids)
        count(task_type, queue, len(items))


@dataclass(slots=True)
class Staged:
    """备好待写的任务：号码、序列化的载荷（JSON）、创建上下文。"""

    submission: Submission[Any]
    task_id: UUID
    payload: bytes
    creation: SpanContext

    @classmethod
    def of(cls, submission: Submission[Any]) -> Staged:
        try:
            payload = to_json(submission.payload)  # 直接要字节：载荷可有十几 MB，少抄两遍
        except PydanticSerializationError as error:
            raise submission.type.unwritable(submission.payload, error) from error
        task_id = uuid7_source.uuid7()
        creation = creation_context(submission.type.name, task_id, submission.queue)
        return cls(submission, task_id, payload, creation)

    def row(self, max_attempts: int) -> dict[str, Any]:
        """``outbox_accept`` 要的一个任务；载荷已是 JSON，原样嵌入。"""
        submission = self.submission
        return {
            "id": self.task_id,
            "type": submission.type.name,
            "payload": orjson.Fragment(self.payload),
            "max_attempts": submission.type.max_attempts or max_attempts,
            "priority": submission.queue,
            "principal": submission.principal,
            "request_id": submission.request_id,
            "ordering_key": submission.ordering_key,
            "key_policy": None if submission.ordering_key is None else submission.type.key_policy,
            "schedule_at": submission.schedule_at,
            "traceparent": traceparent_of(self.creation),
        }


class GroupAccept:
    """并发提交合并成一次 COMMIT 的受理，一个进程一个；返回时已提交。"""

    def __init__(self, pool: Pool, max_attempts: int, count: Count = uncounted, within: float | None = None) -> None:
        self._pool = pool
        self._max_attempts = max_attempts
        self._count = count
        self._group: GroupCommit[Staged, Accepted] = GroupCommit(
            pool, partial(insert, max_attempts=max_attempts, count=count), PATIENCE, GROUP_BYTES,
            size=lambda staged: len(staged.payload), within=within,
            around=lambda batch: batch_span("INSERT", [staged.creation for staged in batch]),
            gathering=Gathering(AWAITED),
        )  # fmt: skip

    async def accept(self, submission: Submission[Any]) -> Accepted:
        """受理一个任务。有序的要锁住它的键，不与别人合并：谁也不该等它的锁。

        Raises:
            RequestIdReusedError: ``request_id`` 已用于内容不同的任务。
            psycopg.Error: 数据库出错；什么也没写（或结局不明，同 request_id 再交即可）。
            TimeoutError: 久等不到，结局不明，同上。
        """
        if submission.ordering_key is None:
            return await self._group.submit(Staged.of(submission))
        async with self._pool.connection() as connection:
            return await accept_one(connection, submission, self._max_attempts, count=self._count)
