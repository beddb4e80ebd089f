"""Redis 键的构造：协议与进程的都在此；限速的计数在各自的限速器里。"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

EPOCH = "kaguan:epoch"
HISTORY = "kaguan:epoch:history"  # 记下纪元时 Redis 的复制历史号
WATERMARK = "kaguan:watermark"  # PostgreSQL 交到了哪里：它被退回去了，就比这里的旧
# 就要去做收不回的外部调用的：成员是投递的键，分数是何时（Redis 的钟，毫秒）；删去过的里面最晚的是何时
CALLS = "kaguan:calls"
CALLS_TRIMMED = "kaguan:calls:trimmed"
TIMELINE = "kaguan:timeline"  # 各进程见过的最新的主库：集群与时间线
DOORBELL = "kaguan:doorbell"  # 频道：有新的待交付
# 进程的心跳：成员是进程名，分数是最近一拍（Redis 的钟，毫秒）；名片按同样的名字存
PRESENCE_BEATS = "kaguan:presence:beats"
PRESENCE_CARDS = "kaguan:presence:cards"
# 判断的记忆：最近说过的每件事，最后一次看见它的时刻
BREAKERS = "kaguan:breakers"  # 集合：各进程没有闭合的断路器的键


def task_lock(task_id: UUID) -> str:
    """任务锁，值是投递号：替 PostgreSQL 挡掉明显的重复，不决定任何事。"""
    return f"kaguan:task:{task_id}:lock"


def delivery_key(task_id: UUID, delivery: int) -> str:
    """一次投递在 SAQ 里的键：任务号加投递号，换了投递号就是新任务（docs/GUARANTEES.md）。"""
    return f"{task_id}:{delivery}"


def pace_key(task_type: str) -> str:
    """这种任务一次尝试的平均秒数。"""
    return f"kaguan:pace:{task_type}"


def breaker_key(kind: str, name: str, process: str) -> str:
    """一个进程的一个没有闭合的断路器；进程死了，它自己过期。"""
    return f"kaguan:breaker:{kind}:{name}:{process}"
