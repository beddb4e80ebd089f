"""SAQ 队列：一个优先级一个。只用它的公开面；流水线入队用的是 SAQ 自己的脚本（docs/GUARANTEES.md）。"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from redis.exceptions import NoScriptError, RedisError
from saq.job import Job
from saq.queue.redis import RedisQueue

from kaguan.outbox.vocabulary import Priority, PriorityRank
from kaguan.queues.keys import delivery_key

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from redis.asyncio import Redis
    from saq.job import Status

log = structlog.get_logger(__name__)

JOB_TTL = 60  # 秒：做完的投递在 Redis 里只留这么久，历史在 PostgreSQL
TIMEOUT_MARGIN = 60  # 秒：SAQ 的时限只作兜底，须长于我们自己的
SECONDS = 0.5  # 一次投递里的活合计不超过这么久：取走它的 worker 忙着，别的就替不了
HANDED_AT = "handed_at"  # 投递的 meta：何时交出


class KaguanQueue(RedisQueue):
    """一个优先级的队列。"""

    def deserialize(
        self, payload: dict[str, Any] | str | bytes | None, status: Status | str | None = None
    ) -> Job | None:
        """看不懂的内容当作没有：否则清扫会停在它那里，它后面的都清不掉（docs/GUARANTEES.md）。"""
        try:
            return super().deserialize(payload, status)
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("队列里有看不懂的投递，当作没有", queue=self.name)
            return None

    async def notify(self, job: Job) -> None:
        """每变一次状态就发布一次，没有人听：看板自己来看，别处都以 PostgreSQL 为准。"""

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:
        """SAQ 自己的打扫，我们不靠它；Redis 不在就算了。"""
        try:
            return await super().sweep(lock, abort)
        except RedisError as error:
            log.debug("打扫时 Redis 不可用", queue=self.name, error=type(error).__name__)
            return []


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


@dataclass(frozen=True, slots=True)
class Due:
    """一行到期的待交付。``waited`` 是到期以来的秒数，``now`` 是库的钟（纪元秒）。"""

    task_id: UUID
    delivery: int
    type: str
    priority: int
    traceparent: str | None
    waited: float
    now: float
    alone: bool = False


def pack(due: Sequence[Due], shareable: Container[str], paces: Mapping[str, float], limit: int) -> list[Delivery]:
    """把到期的行装成投递；同队列、同类型的次序不变。

    Args:
        due: 到期的行，按优先级排好。
        shareable: 可以同乘的类型；长任务从不同乘。
        paces: 各类型一次尝试的平均秒数；不知道的先单独走，一秒后就知道了。
        limit: 一次投递至多几个；1 = 从不同乘。
    """
    deliveries: list[Delivery] = []
    for (priority, task_type, alone), group in groupby(sorted(due, key=_kind), key=_kind):
        tokens = [(row.task_id, row.delivery) for row in group]
        quick = task_type in shareable and not alone
        size = _size(task_type, paces, limit) if quick else 1
        queue = PriorityRank(priority).queue
        shares = [tokens[start : start + size] for start in range(0, len(tokens), size)]
        deliveries += [Delivery(queue, task_type, share) for share in shares]
    return deliveries


def _kind(row: Due) -> tuple[int, str, bool]:
    return row.priority, row.type, row.alone


def _size(task_type: str, paces: Mapping[str, float], limit: int) -> int:
    seconds = paces.get(task_type)
    return 1 if seconds is None else max(1, min(limit, int(SECONDS / max(seconds, 1e-6))))


async def enqueue_many(
    queues: Mapping[Priority, KaguanQueue], deliveries: Sequence[Delivery], task_timeout: float, now: float
) -> list[bool]:
    """一条流水线入队全部投递，次序与输入相同；参数只有号码，没有个人信息。

    SAQ 自己的重试关闭；它的时限只作兜底，由每个任务的 ``task_timeout``（秒）而来。
    ``now`` 是库的钟（纪元秒），记在 ``meta`` 里：旧版本的 worker 不看它，也不会被它难住。

    每个结果是已入队与否；没有的是同键未完成，或 abort 键挡着：没有证明，别当成已交付。

    Raises:
        RedisError: 连不上，或 Redis 拒收（内存满、只读……）：与单个投递无关，它的参数只有号码。
    """
    jobs = [
        (
            one.queue,
            Job(
                function=one.type,
                key=one.key,
                kwargs={"deliveries": [[str(task_id), delivery] for task_id, delivery in one.tokens]},
                timeout=int(task_timeout) * len(one.tokens) + TIMEOUT_MARGIN,
                retries=1,
                ttl=JOB_TTL,
                meta={HANDED_AT: now},
            ),
        )
        for one in deliveries
    ]
    redis = next(iter(queues.values())).redis
    # 脚本几乎总在：不先问（每次多一个来回）；不在就一条也没入队，先问再来一遍
    for is_loaded in (True, False):
        async with redis.pipeline(transaction=False) as pipe:
            proxies = {priority: _through(queue, pipe) for priority, queue in queues.items()}
            for queue, job in jobs:
                await proxies[queue].enqueue(job)
            if is_loaded:
                pipe.scripts.clear()
            with suppress(NoScriptError):
                return [queued is not None for queued in await pipe.execute()]
    raise NoScriptError


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
