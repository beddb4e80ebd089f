"""死去的 worker 留在 Redis 里的：取走而再也没有人做的投递。

以 PostgreSQL 为准清掉；它还算在手里的、刚取走的一个也不碰。SAQ 自己的清扫不跑：它凭 Redis 里的状态，健康的也打。
"""

from __future__ import annotations

import time
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from redis.asyncio import Redis
from saq.job import Job
from saq.queue.redis import ID_PREFIX

from kaguan.database.pool import Pool
from kaguan.database.sql import load
from kaguan.outbox.deliver import in_redis
from kaguan.outbox.deliver.deliveries import REQUEST_IDS, KaguanQueue
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.recover import store
from kaguan.outbox.recover.vanished import Vanishing
from kaguan.outbox.vocabulary import Priority
from kaguan.words.log import get_logger

log = get_logger(__name__)

PATIENCE = 30.0  # 秒：取走这么久，PostgreSQL 又不算它在手里，就没有人会做它了
PAGE = 200  # 一次至多清这么多


@dataclass(slots=True)
class Leftovers:
    """``patience`` 单位秒。"""

    pool: Pool
    redis: Redis
    queues: Mapping[Priority, KaguanQueue]
    types: Container[str]
    vanishing: Vanishing
    metrics: Metrics
    patience: float = PATIENCE
    _seen: dict[tuple[Priority, bytes], float] = field(default_factory=dict)  # 取走的 → 何时第一次看见，单调钟

    async def run_once(self) -> int:
        """看一遍；返回清掉几个。

        Raises:
            RedisError: Redis 不在。
        """
        now = time.monotonic()
        taken = await in_redis.taken(self.queues, self.queues)
        self._seen = {(queue, job): self._seen.get((queue, job), now) for queue, jobs in taken.items() for job in jobs}
        old = [held for held, at in self._seen.items() if now - at >= self.patience][:PAGE]
        if not old:
            return 0
        names = [job for _, job in old if _is_ours(job)]
        blobs = dict(zip(names, await self.redis.mget(names) if names else [], strict=True))  # 类型不对的也是没有
        jobs = [self.queues[queue].deserialize(blobs.get(job)) for queue, job in old]
        carried = [_carried(job) for job in jobs]
        alive = await self._open([token for tokens in carried for token in tokens])
        left = [one for one in zip(old, jobs, carried, strict=True) if alive.isdisjoint(one[2])]
        for _, job, tokens in left:
            await self._name(job, tokens)
        dead = [held for held, _, _ in left]
        if dead:
            await self._clear(dead)
            log.info("清掉取走而没有人做的投递", count=len(dead))
        return len(dead)

    async def _name(self, job: Job | None, tokens: list[tuple[UUID, int]]) -> None:
        """带着的任务 PostgreSQL 都不认得了的，在清掉之前点名：清掉之后就没有人说得出是哪一件。"""
        if job is None or job.function not in self.types:
            return
        request_ids = dict(zip(tokens, job.meta.get(REQUEST_IDS, ()), strict=False))
        gone = await self.vanishing.note_delivered(job.function, tokens, request_ids)
        self.metrics.vanished.labels(job.function).inc(gone)

    async def _open(self, tokens: list[tuple[UUID, int]]) -> set[tuple[UUID, int]]:
        parameters = {"task_ids": [one for one, _ in tokens], "deliveries": [number for _, number in tokens]}
        async with self.pool.connection() as connection:
            cursor = await connection.execute(load(store.PACKAGE, "open_deliveries"), parameters)
            return {(task_id, delivery) for task_id, delivery in await cursor.fetchall()}

    async def _clear(self, dead: list[tuple[Priority, bytes]]) -> None:
        async with self.redis.pipeline(transaction=True) as pipe:
            for priority, job in dead:
                queue = self.queues[priority]
                pipe.lrem(queue.namespace("active"), 0, job)  # type: ignore[arg-type] # redis-py 的标注只认文本
                pipe.zrem(queue.namespace("incomplete"), job)
                if _is_ours(job):
                    pipe.unlink(job)
            await pipe.execute()


def _is_ours(job: bytes) -> bool:
    """SAQ 的任务号；别人写进列表的别的键不碰：用户的权限也许不许，连着的一起都不成。"""
    return job.startswith(ID_PREFIX.encode())


def _carried(job: Job | None) -> list[tuple[UUID, int]]:
    """带着哪些任务；看不懂的一个也没有。"""
    return [] if job is None else [(UUID(one), number) for one, number in (job.kwargs or {}).get("deliveries", ())]
