"""消息路径的零件：真实的库与 Valkey，处理器由用例给。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from saq.job import Job

from kaguan.config import Settings
from kaguan.config.model import Tasks
from kaguan.database.pool import Connection, Pool
from kaguan.database.seal import Seal, Sealing
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.deliver.deliveries import KaguanQueue, build_queues
from kaguan.outbox.deliver.forward import Forwarder
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.operate.record import TaskRecord, find
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.recover.epoch import EpochRedrive
from kaguan.outbox.recover.redrive import LeaseRedrive, OrphanRedrive, PresenceRedrive
from kaguan.outbox.relay import Relay, Timing
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.execution import Execution
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.outbox.worker import Worker
from kaguan.product.task_types import TASK_TYPES
from kaguan.queues.client import open_redis
from tests.support.eventually import PATIENCE
from tests.support.played import played

MAX_ATTEMPTS = 6


@dataclass(slots=True)
class Pipeline:
    """一套 relay 与 worker 的零件，逐步驱动。"""

    settings: Settings
    pool: Pool
    redis: Redis
    queues: dict[Priority, KaguanQueue]
    metrics: Metrics
    relay: Relay
    forwarder: Forwarder = field(init=False)
    leases_redrive: LeaseRedrive = field(init=False)
    presence: PresenceRedrive = field(init=False)
    epoch: EpochRedrive = field(init=False)
    orphans: OrphanRedrive = field(init=False)

    def __post_init__(self) -> None:
        self.forwarder, self.leases_redrive, self.presence = self.relay.forwarder, self.relay.lease, self.relay.presence
        self.epoch, self.orphans = self.relay.epoch, self.relay.orphan

    async def submit(self, count: int = 1, queue: Priority = Priority.DEFAULT, **options: Any) -> list[UUID]:
        payload = EmailPayload(to=("a@example.com",), subject="s", body="b")
        submissions = [Submission(EMAIL_SEND, payload, queue, **options) for _ in range(count)]
        async with self.pool.connection() as connection:
            outcomes = await accept_many(connection, submissions, MAX_ATTEMPTS)
        return [outcome.task_id for outcome in outcomes if not isinstance(outcome, Exception)]

    async def task(self, task_id: UUID) -> TaskRecord:
        async with self.pool.connection() as connection:
            record = await find(connection, task_id)
        assert record is not None
        return record

    async def status(self, task_id: UUID) -> str:
        return (await self.task(task_id)).status

    async def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall() if cursor.description else []

    async def come_due(self) -> None:
        """退避着的、排在将来的，都到时候了。"""
        await self.sql("update tb_outbox set available_at = now() where available_at > now()")

    async def seal(self) -> Seal:
        """库里的钥匙。"""
        async with self.pool.connection() as connection:
            return await Sealing().held(connection)

    async def note(self, *tokens: tuple[UUID, int], tasks: Tasks | None = None) -> Calls:
        """就像 worker 那样记下外部调用。"""
        calls = Calls(self.redis, tasks or self.settings.tasks)
        async with self.pool.connection() as connection:
            await calls.note(connection, tokens)
        return calls

    async def jobs(self, priority: Priority = Priority.DEFAULT) -> list[Job]:
        """队列里未完成的投递。"""
        queue = self.queues[priority]
        ids = await self.redis.zrange(queue.namespace("incomplete"), 0, -1)
        found = await queue.jobs([queue.job_key_from_id(job_id.decode()) for job_id in ids])
        return [job for job in found if job is not None]

    def worker(
        self,
        handler: Handler[Any],
        name: str = "worker-a",
        types: Iterable[TaskType[Any]] = TASK_TYPES,
        **parts: Any,
    ) -> Worker:
        """与 worker 进程同一个装配，一个处理器管全部类型；``parts`` 见 :class:`Worker`。"""
        handlers = {one: played(one, handler) for one in types}
        return Worker(
            self.pool,
            self.redis,
            handlers,
            self.settings.worker,
            self.settings.tasks,
            metrics=self.metrics,
            name=name,
            **parts,
        )

    def execution(
        self, handler: Handler[Any], name: str = "worker-a", types: Iterable[TaskType[Any]] = TASK_TYPES, **parts: Any
    ) -> Execution:
        return self.worker(handler, name, types, **parts).execution

    async def is_waiting_for_a_lock(self) -> bool:
        """这个库里有一条语句在等锁。"""
        waiting = (
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        )
        return await self.sql(waiting) == [(1,)]

    @asynccontextmanager
    async def working(self, handler: Handler[Any], **parts: Any) -> AsyncIterator[Execution]:
        """真的 SAQ Worker 在取件，离开时停下。"""
        worker = self.worker(handler, **parts)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.consumer().run(stop))
        try:
            yield worker.execution
        finally:
            stop.set()
            await task


def carried_by(job: Job) -> list[tuple[UUID, int]]:
    """一次投递带着哪些 (任务号, 投递号)。"""
    return [(UUID(task_id), delivery) for task_id, delivery in (job.kwargs or {})["deliveries"]]


def stepped_relay(
    settings: Settings,
    pool: Pool,
    redis: Redis,
    metrics: Metrics,
    types: Iterable[TaskType[Any]] = TASK_TYPES,
    thrift: float = 0.0,
    grace: float = 0.0,
) -> Relay:
    """与 relay 进程同一个装配，只有节拍不同：逐步驱动，说得清哪一步做了什么。

    交出窗口开到水位那么大：一次交得完，用例才说得清交了什么。``thrift`` 0：遍遍从头看，随用例改时刻。
    ``grace``：PostgreSQL 启动之后给持有者续租的秒数；服务器刚起来，0 才当场收得回。
    """
    relay = Relay(
        pool,
        redis,
        types,
        settings.relay.model_copy(update={"window": settings.relay.high_water}),
        settings.tasks,
        settings.worker.model_copy(update={"lease": grace}),
        metrics=metrics,
        timing=Timing(orphan=1.0, hold=0.0, thrift=thrift),
    )
    relay.forwarder.line.ask_thrift = 0.0  # 新来的提交者当场看见，不看钟
    relay.forwarder.held = PATIENCE
    relay.forwarder.line.late_commit = PATIENCE  # 上一眼之后来的，停顿再久也在眼里
    return relay


@asynccontextmanager
async def open_pipeline(
    settings: Settings, pool: Pool, thrift: float = 0.0, grace: float = 0.0
) -> AsyncIterator[Pipeline]:
    """``thrift``、``grace`` 见 :func:`stepped_relay`。"""
    async with open_redis(settings.redis, connections=64) as redis:
        metrics = Metrics()
        relay = stepped_relay(settings, pool, redis, metrics, thrift=thrift, grace=grace)
        yield Pipeline(settings, pool, redis, build_queues(redis), metrics, relay)


def duplicates(pipeline: Pipeline, task_type: TaskType[Any] = EMAIL_SEND) -> float:
    """worker 挡下的重复投递数。"""
    return (
        pipeline.metrics.registry.get_sample_value("kaguan_duplicates_suppressed_total", {"type": task_type.name}) or 0
    )


class Held:
    """拿着任务不放，直到放行；``intend``：先记下意向。"""

    def __init__(self, outcome: Outcome | None = None, *, intend: bool = False) -> None:
        self.started = asyncio.Event()
        self.released = asyncio.Event()
        self.attempts: list[Attempt] = []
        self.outcome = outcome or Done()
        self.intend = intend

    async def __call__(self, attempt: Attempt) -> Outcome:
        self.attempts.append(attempt)
        if self.intend:
            async with attempt.transaction() as connection:
                await attempt.declare_intent(connection)
        self.started.set()
        await self.released.wait()
        return self.outcome


async def write_event(connection: Connection) -> None:
    """处理器自己的写入：一行，数得出做了几遍。"""
    await connection.execute("insert into tb_sim_event (iccid, old_state, new_state, source) values ('x','a','b','t')")
