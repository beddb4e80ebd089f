"""worker：认领、执行、续租、结算，直到停止信号。产品的进程、测试、模拟与基准都由这里装配。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from redis.asyncio import Redis

from kaguan.config.model import Tasks
from kaguan.config.model import Worker as WorkerConfig
from kaguan.database.pool import Pool
from kaguan.flow.background import in_background
from kaguan.outbox.accept.doorbell import Doorbell
from kaguan.outbox.deliver.pace import Pace
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.recover.vanished import Vanishing
from kaguan.outbox.task_type import TaskType, TaskTypes, Unknown
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.work.claiming import Claims
from kaguan.outbox.work.consumer import Consumer
from kaguan.outbox.work.execution import Execution
from kaguan.outbox.work.gathered import Reads
from kaguan.outbox.work.intake import EMPTY_AFTER, Slots
from kaguan.outbox.work.intents import Intents
from kaguan.outbox.work.leases import Leases, beating
from kaguan.outbox.work.newer import NewerPayloads
from kaguan.outbox.work.overrides import Overrides
from kaguan.outbox.work.paused import Outside
from kaguan.outbox.work.places import CallingIn, Gates, Seats
from kaguan.outbox.work.settlement import Settlement
from kaguan.outbox.work.stacks import Answering
from kaguan.outbox.work.verification import Verified
from kaguan.presence.beat import process_name
from kaguan.words.log import get_logger

log = get_logger(__name__)


def _unheard() -> None:
    """没有 Redis 就没有门铃：relay 的轮询也看得见。"""


def _check(handlers: Mapping[TaskType[Any], Handler[Any]]) -> None:
    """处理器与类型说的一致：答应先查证的带着查证的办法，没答应的不带。"""
    for one, handler in handlers.items():
        if not callable(handler):
            raise TypeError(f"{one}：处理器不能调用：{handler!r} / the handler is not callable")
        if (one.unknown is Unknown.VERIFY) != isinstance(handler, Verified):
            raise ValueError(
                f"{one}：unknown=VERIFY 的（且只有它）要给 Verified(handler, verify, resend=…)"
                " / a type whose unknown is VERIFY, and no other, wants Verified(handler, verify, resend=…)"
            )


class Worker:
    """一个 worker 进程的全部零件。

    Args:
        pool: PostgreSQL。
        redis: 连接池要容得下 ``config.concurrency`` 加 :data:`SPARE_CONNECTIONS` 条；None 即不取件，只就地执行。
        handlers: 任务类型（结局不明怎么办已定下）→ 处理器。
        config: 槽位、租约、时限。
        tasks: 退避与次数。
        metrics: 指标；不给就自成一份。
        name: 在租约上的名字；不给就每次启动各取一个。
        leases: 租约的登记；不给就以 ``name`` 自建。
        claims: 怎么认领；不给就以 ``leases`` 的名义自建。
        newer: 对读不懂的新载荷的耐心。
        empty_after: 秒；取件这么久没有答复，就当队列是空的，槽位借给别的。

    Raises:
        ValueError: 有重名的任务类型；``VERIFY`` 的没有查证的办法，或别的有。
        TypeError: 处理器不能调用。
    """

    def __init__(  # noqa: PLR0913 装配的地方，各是一个零件
        self,
        pool: Pool,
        redis: Redis | None,
        handlers: Mapping[TaskType[Any], Handler[Any]],
        config: WorkerConfig | None = None,
        tasks: Tasks | None = None,
        *,
        metrics: Metrics | None = None,
        name: str | None = None,
        leases: Leases | None = None,
        claims: Claims | None = None,
        newer: NewerPayloads | None = None,
        empty_after: float = EMPTY_AFTER,
    ) -> None:
        config, tasks = config or WorkerConfig(), tasks or Tasks()
        types = TaskTypes(handlers)
        _check(handlers)
        self._config = config
        self._redis = redis
        self._bell = None if redis is None else Doorbell(redis)
        self._newer = newer or NewerPayloads()
        self.leases = leases or Leases(pool, name or process_name(), config.lease)
        slots = Slots(config.concurrency, config.weights, empty_after, config.kept_free)
        self._gates = Gates(types.values(), config.limits)
        ring = _unheard if self._bell is None else self._bell.ring
        self._overrides = Overrides(pool, self.leases.worker)
        self.calling_in = CallingIn(pool, self._gates, self._overrides, config.weights, ring)
        self._pace = Pace(redis, slots.seconds, slots.measured)
        self.execution = Execution(
            pool=pool,
            handlers=handlers,
            claims=claims or Claims(pool, self.leases, redis),
            seats=Seats(slots, self._gates, Outside(pool)),
            leases=self.leases,
            settlement=Settlement(pool, self.leases.worker, tasks, types),
            metrics=metrics or Metrics(types),
            task_timeout=config.task_timeout,
            once=types.once,
            ring=ring,
            newer=self._newer,
            vanishing=Vanishing(pool, tasks.retention_days),
            intents=Intents(pool, None if redis is None else Calls(redis, tasks)),
            reads=Reads(pool),
        )

    def facts(self) -> dict[str, Any]:
        """进程名片上的：没有处理器的类型，槽位在哪种任务手里，谁在等谁。"""
        slots, away = self.execution.slots, dict[str, dict[str, int]]()
        for (name, whom), count in slots.away.items():
            if count:
                away.setdefault(name, {})[whom] = count
        held = {name: count for name, count in slots.held.items() if count}
        return {**self._newer.facts(), "busy": self.execution.slots.busy, "held": held, "away": away}

    def consumer(self) -> Consumer:
        """取件的一头。

        Raises:
            RuntimeError: 没有给 Redis。
        """
        if self._redis is None:
            raise RuntimeError("没有给 Redis，取不了件")
        return Consumer(self._redis, self.execution, self._config, self._gates.capacity)

    async def run(self, stop: asyncio.Event) -> None:
        """取件、执行、续租，直到 ``stop`` 或被取消；有人要它收工，它自己设 ``stop``。做不完的交还，不计尝试。"""
        consumer = self.consumer()
        try:
            async with self.at_work(), in_background(self.calling_in.run(stop), "calling-in"):
                await consumer.run(stop)
        finally:  # 心跳先停：还在跳，就把已交还的又续上
            returned = await self.leases.release_all()
            await self._overrides.leave()
            log.info("已停止取件", returned=returned)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """取件旁边一直做的：续租、报速度、放行了同键的下一个就按门铃、有人问任务停在哪里就答。"""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(beating(self.leases))
            await stack.enter_async_context(self._pace.publishing())
            if self._bell is not None:
                await stack.enter_async_context(self._bell.ringing())
            if self._redis is not None:
                answers = Answering(self._redis, self.leases.worker, lambda: self.leases.is_busy)
                await stack.enter_async_context(answers.answering())
            yield
