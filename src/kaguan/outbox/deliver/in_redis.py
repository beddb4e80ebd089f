"""Redis 还认得哪些投递：已交出的任务，它那次投递在不在、取走了没有。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from kaguan.outbox.deliver.deliveries import KaguanQueue
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.keys import delivery_key


@dataclass(frozen=True, slots=True)
class Handed:
    """一个已交出、还没有被认领的任务。``job`` 是与别的任务同乘时的 SAQ 键。"""

    id: UUID
    delivery: int
    job: str | None
    queue: str
    queued_at: datetime
    traceparent: str | None
    request_id: str | None
    overdue: bool
    age: float


MOST = 20_000  # 一个列表至多看这么多：我们自己放的到不了


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


async def waiting(queues: Mapping[Priority, KaguanQueue], wanted: Iterable[Priority]) -> dict[Priority, set[bytes]]:
    """这些队列里还没有被取走的投递（SAQ 的任务号）。

    Raises:
        RedisError: 连不上。
    """
    return await _listed(queues, wanted, "queued")


async def taken(queues: Mapping[Priority, KaguanQueue], wanted: Iterable[Priority]) -> dict[Priority, set[bytes]]:
    """这些队列里已被取走、还没有做完的投递（SAQ 的任务号）；至多与全部槽位一样多。

    Raises:
        RedisError: 连不上。
    """
    return await _listed(queues, wanted, "active")


async def _listed(
    queues: Mapping[Priority, KaguanQueue], wanted: Iterable[Priority], name: str
) -> dict[Priority, set[bytes]]:
    priorities = list(wanted)
    pipeline = next(iter(queues.values())).redis.pipeline(transaction=False)
    async with pipeline as pipe:
        for priority in priorities:
            pipe.lrange(queues[priority].namespace(name), 0, MOST - 1)
        pages = await pipe.execute()
    return {priority: set(page) for priority, page in zip(priorities, pages, strict=True)}


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


async def waiting_depths(queues: Mapping[Priority, KaguanQueue]) -> dict[Priority, int]:
    """每个队列里在等的投递数。

    执行中的不算在等：它们受槽位限制；死去的 worker 留下的，SAQ 要到任务的时限过了才清，不该占着水位。

    Raises:
        RedisError: 连不上。
    """
    pipeline = next(iter(queues.values())).redis.pipeline(transaction=False)
    async with pipeline as pipe:
        for queue in queues.values():
            pipe.llen(queue.namespace("queued"))
        return dict(zip(queues, await pipe.execute(), strict=True))
