"""SAQ 队列：一个优先级一个。只用它的公开面；流水线入队用的是 SAQ 自己的脚本（docs/GUARANTEES.md）。"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from redis.exceptions import RedisError
from saq.job import Job
from saq.queue.redis import RedisQueue

from kaguan.backoff import equal_jitter
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.keys import delivery_key, pace_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from redis.asyncio import Redis
    from saq.job import Status

    from kaguan.outbox.store import Handed

log = structlog.get_logger(__name__)

JOB_TTL = 60  # 秒：做完的投递在 Redis 里只留这么久，历史在 PostgreSQL
TIMEOUT_MARGIN = 60  # 秒：SAQ 的时限只作兜底，须长于我们自己的
FIRST_BACKOFF, BACKOFF_MAX = 0.2, 5.0  # 秒；Redis 不在时


class KaguanQueue(RedisQueue):
    """取件时 Redis 不在就退避：SAQ 的取件循环自己不等，会空转（docs/GUARANTEES.md）。"""

    _failures = 0

    def deserialize(
        self, payload: dict[str, Any] | str | bytes | None, status: Status | str | None = None
    ) -> Job | None:
        """看不懂的内容当作没有：否则清扫会停在它那里，它后面的都清不掉（docs/GUARANTEES.md）。"""
        try:
            return super().deserialize(payload, status)
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("队列里有看不懂的投递，当作没有", queue=self.name)
            return None

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        """SAQ 自己的打扫，我们不靠它；Redis 不在就算了。"""
        try:
            return await super().sweep(lock, abort)
        except RedisError as error:
            log.debug("打扫时 Redis 不可用", queue=self.name, error=type(error).__name__)
            return []

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:  # noqa: ASYNC109 签名随 SAQ
        try:
            job = await super().dequeue(timeout, poll_interval)
        except RedisError as error:
            self._failures += 1
            if self._failures == 1:
                log.warning("取件失败，退避重试", queue=self.name, error=type(error).__name__)
            wait = equal_jitter(self._failures, FIRST_BACKOFF, BACKOFF_MAX)
            await asyncio.sleep(wait)  # SAQ 立刻又来取：Redis 不在时不空转
            return None
        if self._failures:
            log.info("取件恢复", queue=self.name, failures=self._failures)
            self._failures = 0
        return job


def build_queues(client: Redis) -> dict[Priority, KaguanQueue]:
    """三个队列，共用一个客户端；关闭客户端由它的主人负责。"""
    return {priority: KaguanQueue(client, name=priority) for priority in Priority}


@dataclass(frozen=True, slots=True)
class Delivery:
    """一次投递：同队列、同类型的一个或几个任务（任务号，投递号）。"""

    queue: Priority
    type: str
    tokens: Sequence[tuple[UUID, int]]
    shared: str = field(default_factory=lambda: f"shared:{uuid4()}")

    @property
    def key(self) -> str:
        """SAQ 的键；单个的由任务号与投递号算得出。"""
        return delivery_key(*self.tokens[0]) if len(self.tokens) == 1 else self.shared

    @property
    def job(self) -> str | None:
        """要记在任务上的键：算不出来的才记。"""
        return self.shared if len(self.tokens) > 1 else None


async def enqueue_many(
    queues: Mapping[Priority, KaguanQueue], deliveries: Sequence[Delivery], task_timeout: float
) -> list[object]:
    """一条流水线入队全部投递，次序与输入相同；参数只有号码，没有个人信息。

    SAQ 自己的重试关闭；它的时限只作兜底，由每个任务的 ``task_timeout``（秒）而来。

    每个结果是 1（已入队）、None（同键未完成，或 abort 键挡着：没有证明，别当成已交付）或一个异常。

    Raises:
        RedisError: 连不上，或整条流水线失败。
    """
    pipeline = next(iter(queues.values())).redis.pipeline(transaction=False)
    async with pipeline as pipe:
        proxies = {priority: _through(queue, pipe) for priority, queue in queues.items()}
        for one in deliveries:
            job = Job(
                function=one.type,
                key=one.key,
                kwargs={"deliveries": [[str(task_id), delivery] for task_id, delivery in one.tokens]},
                timeout=int(task_timeout) * len(one.tokens) + TIMEOUT_MARGIN,
                retries=1,
                ttl=JOB_TTL,
            )
            await proxies[one.queue].enqueue(job)
        return list(await pipe.execute(raise_on_error=False))


def _through(queue: KaguanQueue, pipe: object) -> KaguanQueue:
    """浅拷贝的队列把命令写进流水线；SAQ 的 enqueue 原样运行。"""
    proxy = copy.copy(queue)
    proxy.redis = pipe  # type: ignore[assignment] # 流水线与客户端有同样的命令
    return proxy


async def known(queues: Mapping[Priority, KaguanQueue], deliveries: Iterable[tuple[Priority, str]]) -> list[bool]:
    """一条流水线查这些投递是否还在 SAQ 的未完成集里。

    Raises:
        RedisError: 连不上。
    """
    pipeline = next(iter(queues.values())).redis.pipeline(transaction=False)
    async with pipeline as pipe:
        for priority, key in deliveries:
            queue = queues[priority]
            pipe.zscore(queue.namespace("incomplete"), queue.job_id(key))
        return [score is not None for score in await pipe.execute()]


def key_of(task: Handed) -> str:
    """它那次投递在 SAQ 里的键。"""
    return task.job or delivery_key(task.id, task.delivery)


async def split_known(
    queues: Mapping[Priority, KaguanQueue], tasks: Sequence[Handed]
) -> tuple[list[Handed], list[Handed]]:
    """把已交出的任务分成 Redis 不认得的与还认得的。

    Raises:
        RedisError: 连不上。
    """
    present = await known(queues, [(Priority(task.queue), key_of(task)) for task in tasks])
    missing = [task for task, here in zip(tasks, present, strict=True) if not here]
    return missing, [task for task, here in zip(tasks, present, strict=True) if here]


async def waiting(queues: Mapping[Priority, KaguanQueue], wanted: Iterable[Priority]) -> dict[Priority, set[str]]:
    """这些队列里还没有被取走的投递（SAQ 的任务号）。

    Raises:
        RedisError: 连不上。
    """
    return await _listed(queues, wanted, "queued")


async def taken(queues: Mapping[Priority, KaguanQueue], wanted: Iterable[Priority]) -> dict[Priority, set[str]]:
    """这些队列里已被取走、还没有做完的投递（SAQ 的任务号）；至多与全部槽位一样多。

    Raises:
        RedisError: 连不上。
    """
    return await _listed(queues, wanted, "active")


async def _listed(
    queues: Mapping[Priority, KaguanQueue], wanted: Iterable[Priority], name: str
) -> dict[Priority, set[str]]:
    priorities = list(wanted)
    pipeline = next(iter(queues.values())).redis.pipeline(transaction=False)
    async with pipeline as pipe:
        for priority in priorities:
            pipe.lrange(queues[priority].namespace(name), 0, -1)
        pages = await pipe.execute()
    return {priority: {item.decode() for item in page} for priority, page in zip(priorities, pages, strict=True)}


async def load_of(
    queues: Mapping[Priority, KaguanQueue], task_types: Collection[str]
) -> tuple[dict[Priority, int], dict[str, float]]:
    """一次往返看清 Redis 那头：每个队列里在等的投递数，与各类型的步速（秒；没有可信值的不在其中）。

    执行中的不算在等：它们受槽位限制；死去的 worker 留下的，SAQ 要到任务的时限过了才清，不该占着水位。

    Raises:
        RedisError: 连不上。
    """
    pipeline = next(iter(queues.values())).redis.pipeline(transaction=False)
    async with pipeline as pipe:
        for queue in queues.values():
            pipe.llen(queue.namespace("queued"))
        for task_type in task_types:
            pipe.get(pace_key(task_type))
        answers = await pipe.execute()
    depths = dict(zip(queues, answers, strict=False))
    paces = zip(task_types, answers[len(depths) :], strict=True)
    return depths, {task_type: float(pace) for task_type, pace in paces if pace is not None}
