"""Redis 键的构造与全部键的样子：用到的键都从这里来，别处不写（tests/architecture/test_redis_keys.py 核对）。

样子是卡管自己的名下的；一个 Redis 上另有别的发件箱，各在各的名下（:func:`key`）。
"""

from __future__ import annotations

from uuid import UUID

from redis.asyncio import Redis

from kaguan.config.model import NAMESPACE

EPOCH = "kaguan:epoch"
REPLICATION = "kaguan:epoch:history"  # 记下纪元时 Redis 的复制历史号
WATERMARK = "kaguan:watermark"  # PostgreSQL 交到了哪里：它被退回去了，就比这里的旧
# 就要去做收不回的外部调用的：成员是盖了印的投递的键，分数是何时（Redis 的钟，毫秒）；删去过的里面最晚的是何时
CALLS = "kaguan:calls"
CALLS_TRIMMED = "kaguan:calls:trimmed"
TIMELINE = "kaguan:timeline"  # 各进程连上过的最新的主库：集群与时间线
OWNER = "kaguan:owner"  # 别的应用的：哪一个库的
DOORBELL = "kaguan:doorbell"  # 频道：有新的待交付
# 进程的心跳：成员是进程名，分数是最近一拍（Redis 的钟，毫秒）；名片按同样的名字存
PRESENCE_BEATS = "kaguan:presence:beats"
PRESENCE_CARDS = "kaguan:presence:cards"
# 问一个 worker 它的任务停在哪里，与它答的（一次问答一个）；人看的，几秒就过期
PRESENCE_ASKED, PRESENCE_STACK = "kaguan:presence:asked:{}", "kaguan:presence:stack:{}"
# 判断的记忆：最近说过的每件事，最后一次看见它的时刻
BREAKERS = "kaguan:breakers"  # 集合：各进程没有闭合的断路器的键
# 一个进程的一个没有闭合的断路器：种类、名字、进程；进程死了，它自己过期
BREAKER = "kaguan:breaker:{}:{}:{}"
TASK_LOCK = "kaguan:task:{}:lock"
PACE = "kaguan:pace:{}"
CARRIER_LEASES = "kaguan:carrier:{}:leases"  # 一家运营商的并发租约
# 限速的计数，键由 limits 库在前缀之后接着写：对外的（运营商、中继），API 的
LIMITS, RATE = "kaguan:limits", "kaguan:rate"
# SAQ 的，布局是它的；一个队列的，与一次投递的
SAQ_QUEUED, SAQ_ACTIVE, SAQ_INCOMPLETE = "saq:{}:queued", "saq:{}:active", "saq:{}:incomplete"
SAQ_SCHEDULE, SAQ_STATS, SAQ_WORKER = "saq:{}:schedule", "saq:{}:stats", "saq:{}:worker_info:{}"
SAQ_JOB, SAQ_ABORT = "saq:job:{}:{}", "saq:abort:{}"

# 键的样子（``{}`` 是任意一段）→ 它的类型；频道不是键
KINDS = {
    EPOCH: "string", REPLICATION: "string", WATERMARK: "string", CALLS: "zset", CALLS_TRIMMED: "string",
    PRESENCE_ASKED: "string", PRESENCE_STACK: "string",
    TIMELINE: "string", OWNER: "string", PRESENCE_BEATS: "zset", PRESENCE_CARDS: "hash", BREAKERS: "set",
    BREAKER: "string", TASK_LOCK: "string", PACE: "string", CARRIER_LEASES: "zset",
    LIMITS + ":{}": "list", RATE + ":{}": "string",
    SAQ_QUEUED: "list", SAQ_ACTIVE: "list", SAQ_INCOMPLETE: "zset", SAQ_SCHEDULE: "string", SAQ_STATS: "zset",
    SAQ_WORKER: "string", SAQ_JOB: "string", SAQ_ABORT: "string",
}  # fmt: skip


def namespace_of(redis: Redis) -> str:
    """这个客户端用的是谁的名下。"""
    return getattr(redis, "namespace", NAMESPACE)


def key(redis: Redis, shape: str, *parts: object) -> str:
    """``shape`` 在这个客户端名下的键。"""
    return namespace_of(redis) + shape.removeprefix(NAMESPACE).format(*parts)


def doorbell(namespace: str) -> str:
    """``namespace`` 名下的门铃的频道。"""
    return namespace + DOORBELL.removeprefix(NAMESPACE)


def queue_name(redis: Redis, priority: str) -> str:
    """SAQ 的队列名：产品自己的就是优先级。"""
    namespace = namespace_of(redis)
    return priority if namespace == NAMESPACE else f"{namespace}.{priority}"


def task_lock(redis: Redis, task_id: UUID) -> str:
    """任务锁，值是投递号：替 PostgreSQL 挡掉明显的重复，不决定任何事。"""
    return key(redis, TASK_LOCK, task_id)


def delivery_key(task_id: UUID, delivery: int) -> str:
    """一次投递在 SAQ 里的键：任务号加投递号，换了投递号就是新任务（docs/GUARANTEES.md）。"""
    return f"{task_id}:{delivery}"


def pace_key(redis: Redis, task_type: str) -> str:
    """这种任务一次尝试的平均秒数。"""
    return key(redis, PACE, task_type)


def breaker_key(redis: Redis, kind: str, name: str, process: str) -> str:
    """一个进程的一个没有闭合的断路器。"""
    return key(redis, BREAKER, kind, name, process)


def lease_key(carrier: str) -> str:
    """一家运营商的并发租约：只有产品有运营商。"""
    return CARRIER_LEASES.format(carrier)
