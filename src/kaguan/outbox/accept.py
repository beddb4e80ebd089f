"""任务的规则：受理、取消、人工重来、重放。写什么在这里定，何时提交由调用者定。"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import orjson
import structlog
import uuid_utils.compat as uuid7_source
from pydantic_core import to_json

from kaguan.errors import Code, DomainError, FieldError, conflict, not_found
from kaguan.logging.naming import named
from kaguan.outbox import ordering
from kaguan.outbox import record as store
from kaguan.outbox.vocabulary import Priority, TaskStatus, TaskType
from kaguan.telemetry.propagation import traceparent_of
from kaguan.telemetry.spans import creation_context
from kaguan.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from opentelemetry.trace import SpanContext

    from kaguan.database.pool import Connection
    from kaguan.tasks.payloads import Payload

log = structlog.get_logger(__name__)

# 收下一件「提交之后」才做的事；回滚了就不做
AfterCommit: TypeAlias = Callable[[Callable[[], None]], None]

SYSTEM_PRINCIPAL = "system"
REPLAY_LIMIT = 1_000  # 一次至多重放几个
REPLAY_RATE_LIMIT = 500  # 每秒至多重放几个
CANCELLABLE = frozenset({TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RETRYING, TaskStatus.UNCERTAIN})
RETRYABLE = frozenset({TaskStatus.FAILED, TaskStatus.UNCERTAIN})


@dataclass(frozen=True, slots=True)
class Submission:
    """要受理的一个任务。

    ``request_id`` 在 ``principal`` 内唯一；``schedule_at`` 之前不执行；同一 ``principal`` 的同一 ``ordering_key``
    按受理的次序一个接一个地执行。
    """

    type: TaskType
    payload: Payload
    queue: Priority = Priority.DEFAULT
    principal: str = SYSTEM_PRINCIPAL
    request_id: str | None = None
    schedule_at: datetime | None = None
    ordering_key: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """受理的结果；``replayed`` 表示这是重复提交，返回的是首个任务。"""

    task_id: UUID
    status: TaskStatus
    replayed: bool = False


def at_once(tell: Callable[[], None]) -> None:
    """自动提交的连接：语句写完就已提交。"""
    tell()


async def accept(
    connection: Connection, submission: Submission, max_attempts: int, after_commit: AfterCommit = at_once
) -> Accepted:
    """受理一个任务：任务行与发件箱行一条语句写入（I4）。

    连接处于事务中就随事务提交，处于自动提交则自成一次提交。在事务中的给出 ``after_commit``，
    回滚了的受理才不在日志里留下不存在的号。

    Raises:
        DomainError: ``request_id`` 已用于内容不同的任务（1011）。
    """
    outcome = (await accept_many(connection, [submission], max_attempts, after_commit))[0]
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


async def accept_many(
    connection: Connection,
    submissions: Sequence[Submission],
    max_attempts: int,
    after_commit: AfterCommit = at_once,
) -> list[Accepted | DomainError]:
    """受理一批任务，仍是一条语句；逐个给出结果，次序与输入相同。"""
    return await accept_staged(connection, await stage(submissions), max_attempts, after_commit)


async def stage(submissions: Sequence[Submission]) -> list[Staged]:
    """备好一批；一批可有十几 MB，备几个就让别的请求走一圈。"""
    turns = Turns()
    staged = []
    for submission in submissions:
        staged.append(Staged.of(submission))
        await turns.give()
    return staged


async def accept_staged(
    connection: Connection, staged: Sequence[Staged], max_attempts: int, after_commit: AfterCommit = at_once
) -> list[Accepted | DomainError]:
    """写入已备好的任务。备好与写入分开，跟踪上下文因此属于提交它的请求，而写入可以合并。"""
    inserted = await _insert(connection, staged, max_attempts)
    repeated: dict[str, list[str]] = {}
    for item in staged:
        if item.task_id not in inserted and item.submission.request_id is not None:
            repeated.setdefault(item.submission.principal, []).append(item.submission.request_id)
    firsts = {
        (principal, request_id): answer
        for principal, request_ids in repeated.items()
        for request_id, answer in (await store.first_answers(connection, principal, request_ids)).items()
    }
    after_commit(partial(_tell, [item for item in staged if item.task_id in inserted]))
    return [_outcome(item, inserted, firsts) for item in staged]


def _tell(accepted: Sequence[Staged]) -> None:
    """每种任务一行，合并写入的也是：一个任务一行要占受理的百分之几。"""
    kinds: dict[tuple[TaskType, Priority], list[Staged]] = {}
    for item in accepted:
        kinds.setdefault((item.submission.type, item.submission.queue), []).append(item)
    for (task_type, queue), items in kinds.items():
        ids = named(
            [item.task_id for item in items],
            [traceparent_of(item.creation) for item in items],
            [item.submission.request_id for item in items],
        )
        log.info("受理任务", task_type=task_type, queue=queue, count=len(items), **ids)


async def _insert(connection: Connection, staged: Sequence[Staged], max_attempts: int) -> set[UUID]:
    ordered = [item.row() for item in staged if item.submission.ordering_key is not None]
    plain = [item.row() for item in staged if item.submission.ordering_key is None]
    if not ordered:
        return await store.insert(connection, plain, max_attempts)
    async with connection.transaction():
        inserted = await ordering.accept(connection, ordered, max_attempts)
        if plain:
            inserted |= await store.insert(connection, plain, max_attempts)
    return inserted


@dataclass(frozen=True, slots=True)
class Staged:
    """备好待写的任务：号码、序列化的载荷（JSON）、内容摘要、创建上下文。"""

    submission: Submission
    task_id: UUID
    payload: bytes
    fingerprint: bytes
    creation: SpanContext

    @classmethod
    def of(cls, submission: Submission) -> Staged:
        payload = to_json(submission.payload)  # 直接要字节：载荷可有十几 MB，少抄两遍
        ordering_key = "" if submission.ordering_key is None else f"{submission.ordering_key}\n"
        subject = f"{submission.type}\n{submission.queue}\n{submission.schedule_at}\n{ordering_key}"
        content = hashlib.sha256(subject.encode())
        content.update(payload)
        task_id = uuid7_source.uuid7()
        creation = creation_context(submission.type, task_id, submission.queue)
        return cls(submission, task_id, payload, content.digest(), creation)

    def row(self) -> dict[str, Any]:
        """accept.sql 的一行；载荷已是 JSON，原样嵌入。"""
        submission = self.submission
        return {
            "id": self.task_id,
            "type": submission.type,
            "queue": submission.queue,
            "priority": submission.queue.rank,
            "principal": submission.principal,
            "request_id": submission.request_id,
            "fingerprint": f"\\x{self.fingerprint.hex()}",
            "payload": orjson.Fragment(self.payload),
            "schedule_at": submission.schedule_at,
            "traceparent": traceparent_of(self.creation),
            "ordering_key": submission.ordering_key,
        }


def _outcome(
    item: Staged, inserted: set[UUID], firsts: dict[tuple[str, str], store.FirstAnswer]
) -> Accepted | DomainError:
    if item.task_id in inserted:
        return Accepted(item.task_id, TaskStatus.PENDING)
    first = firsts.get((item.submission.principal, item.submission.request_id or ""))
    if first is None or first.fingerprint != item.fingerprint:
        reason = FieldError("request_id", "已用于内容不同的任务", "already used for a different task")
        return DomainError(Code.IDEMPOTENCY_KEY_REUSED, fields=(reason,))
    return Accepted(first.id, TaskStatus(first.status), replayed=True)


async def cancel(connection: Connection, task_id: UUID, actor: str) -> TaskStatus:
    """取消任务，放行同键的下一个；提交之后应按门铃。

    返回之后的状态：正在运行的仍是 running，处理器会在安全点停下；先前的外部调用下落不明的是 uncertain。

    Raises:
        DomainError: 没有此任务（1004），或已结束（1005）。
    """
    found = await store.cancel(connection, task_id, actor)
    if found is None:
        raise not_found("任务", "task")
    before, after = map(TaskStatus, found)
    if before is not TaskStatus.RUNNING and before not in CANCELLABLE:
        raise conflict("status", f"任务已结束（{before}），不能取消", f"task is already {before}")
    log.info("取消任务", task_id=str(task_id), actor=actor, before=before, after=after)
    if after is not TaskStatus.RUNNING:
        await ordering.release(connection, [task_id])
    return after


async def retry(connection: Connection, task_id: UUID, actor: str) -> TaskStatus:
    """人工重来一个失败或结局不明的任务。

    Raises:
        DomainError: 没有此任务（1004），或状态不许（1005）。
    """
    before = await store.retry(connection, task_id, actor)
    if before is None:
        raise not_found("任务", "task")
    if before not in RETRYABLE:
        raise conflict("status", f"{before} 状态的任务不能重来", f"a task that is {before} cannot be retried")
    log.info("人工重来任务", task_id=str(task_id), actor=actor, before=before)
    return TaskStatus.PENDING
