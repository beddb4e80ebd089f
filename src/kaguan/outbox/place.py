"""一个发件箱在哪里、怎么跑，与一个进程为它打开的。产品的 API、relay、worker 与别人的应用都只在这里打开。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from pydantic import ValidationError
from redis.asyncio import Redis as RedisClient

from kaguan.config.model import Database, Redis, Tasks
from kaguan.config.model import Relay as RelaySettings
from kaguan.config.model import Worker as WorkerSettings
from kaguan.config.schedules import Schedule
from kaguan.database.connecting import TOGETHER
from kaguan.database.pool import Pool, open_pool
from kaguan.outbox.accept.doorbell import Doorbell
from kaguan.outbox.operate.retention import Expiry
from kaguan.outbox.schema import installation
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import SPARE_CONNECTIONS, split_slots
from kaguan.outbox.work.attempt import Handler
from kaguan.presence.beat import Presence
from kaguan.queues.client import open_redis, wait_for_redis
from kaguan.queues.foreign import take_keys

if TYPE_CHECKING:  # 只受理的用不着 relay、worker 与 SAQ，打开时才导入
    from kaguan.outbox.metrics import Metrics
    from kaguan.outbox.relay import Loop, Relay
    from kaguan.outbox.worker import Worker

Role: TypeAlias = Literal["api", "relay", "worker"]
S = TypeVar("S", Database, Redis)
FORMS = {
    "database": "postgresql://user:password@host/database",
    "redis": "redis://user:password@host:6379/0, rediss://…",
}


def connected(model: type[S], given: str | S, argument: str) -> S:
    """给的是地址或整组配置。

    Raises:
        ValueError: 地址不成样子，或没有给。
    """
    with suppress(ValidationError):  # pydantic 的话里有整个地址，连密码
        read = model.model_validate({"url": given}) if isinstance(given, str) else given
        if read.url.get_secret_value():
            return read
    raise ValueError(f"{argument}= wants {FORMS[argument]} / {argument}= 应形如 {FORMS[argument]}")


@dataclass(frozen=True, slots=True)
class Place:
    """一个发件箱的名字、连接与各组配置；``database.schema_name`` 为空是产品自己的。"""

    name: str
    database: Database
    redis: Redis
    tasks: Tasks
    relay: RelaySettings
    worker: WorkerSettings

    @asynccontextmanager
    async def opened(
        self, roles: Sequence[Role], types: Mapping[str, TaskType[Any]], pool: Pool | None = None
    ) -> AsyncIterator[Opened]:
        """按序打开，逆序关闭；给了 ``pool`` 的照用，不看是谁的库，也没有名片。抛的见 :meth:`Outbox.opened`。

        relay 与 worker 等 Redis，语句只计划一遍（ADR 34）；只受理的不等：任务在 PostgreSQL 里等。
        """
        from kaguan.outbox.metrics import Metrics  # noqa: PLC0415 声明类型的用不着 prometheus_client

        works = "relay" in roles or "worker" in roles
        size = self.worker.concurrency + SPARE_CONNECTIONS if "worker" in roles else None
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(open_redis(self.redis, size, self.database.namespace))
            guest = bool(self.database.schema_name)
            cards = {role: Presence(redis, role, excuses=guest) for role in roles} if pool is None else {}
            if "worker" in cards:
                shares = split_slots(self.worker.concurrency, self.worker.weights)
                slots = {"slots": {str(queue): count for queue, count in shares.items()}}
                cards["worker"].facts = lambda: slots
            for card in cards.values():
                await stack.enter_async_context(card.beating())  # 越早越好：一起来就死的也要数得出
            if pool is None:
                pool = watched = await stack.enter_async_context(
                    open_pool(self.database, TOGETHER.join(roles), planned_once=works)
                )
                if works:
                    await wait_for_redis(redis, self.redis)
                if guest:  # 产品的库由 migrations/ 管，配不配得上启动时另查
                    async with pool.connection() as connection:
                        await take_keys(redis, str(await installation(connection, self.name)))
                for card in cards.values():
                    await card.watch(watched)  # 先于受理：切换之后才启动的，别在旧的主库上受理
            bell = await stack.enter_async_context(Doorbell(redis, self.relay.doorbell_interval).ringing())
            yield Opened(self, types, pool, redis, bell, cards, metrics=Metrics(types))


@dataclass(frozen=True, slots=True)
class Opened:
    """一个进程打开着的；``cards`` 是它的名片，一个角色一张，``metrics`` 是它数着的。"""

    place: Place
    types: Mapping[str, TaskType[Any]]
    pool: Pool
    redis: RedisClient
    bell: Doorbell
    cards: Mapping[Role, Presence]
    metrics: Metrics

    def card(self, role: Role) -> Presence:
        """``role`` 的名片。

        Raises:
            RuntimeError: 不是为它打开的。
        """
        if role not in self.cards:
            name = self.place.name
            raise RuntimeError(f"{name} is not open for it: opened({role!r}) / {name} 不是为它打开的：opened({role!r})")
        return self.cards[role]

    def relay(
        self,
        schedules: Sequence[Schedule] = (),
        expiries: Mapping[str, Expiry] | None = None,
        others: Mapping[str, Loop] | None = None,
    ) -> Relay:
        """relay，情形写在名片上；几样应用自己的见 :class:`Relay`。"""
        from kaguan.outbox.relay import Relay  # noqa: PLC0415 只受理的不必导入

        card, place = self.card("relay"), self.place
        relay = Relay(
            self.pool,
            self.redis,
            self.types.values(),
            place.relay,
            place.tasks,
            place.worker,
            metrics=self.metrics,
            schedules=schedules,
            expiries=expiries,
            others=others,
        )
        card.facts = relay.facts
        return relay

    def worker(self, handlers: Mapping[TaskType[Any], Handler[Any]]) -> Worker:
        """worker，情形写在名片上；租约上的名字就是名片的。"""
        from kaguan.outbox.worker import Worker  # noqa: PLC0415 只受理的不必导入 SAQ

        card, place = self.card("worker"), self.place
        worker = Worker(
            self.pool, self.redis, handlers, place.worker, place.tasks, metrics=self.metrics, name=card.name
        )
        slots = card.facts
        card.facts = lambda: {**slots(), **worker.facts()}
        return worker
