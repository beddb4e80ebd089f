"""判断的词汇：一件要人留意的事是数据（代号、轻重、参数、从何时起），怎么说由各处自己译。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

Parameters: TypeAlias = "Mapping[str, str | int | float | None]"


class Level(StrEnum):
    """从轻到重；OK 的只是说一声，UNKNOWN 是看不见：数据库不答，别的话都作不得准。"""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"


class ConcernCode(StrEnum):
    """要人留意的事，重的在前；名字是契约：/health、doctor --json 与告警都用它。"""

    DATABASE = "database"  # PostgreSQL 不答
    REDIS = "redis"  # Redis 不答
    REDIS_REFUSES = "redis_refuses"  # Redis 答得出，却不收写入
    LOCKED = "locked"  # PostgreSQL 在，我们的语句却等着别人的锁
    HISTORY = "history"  # PostgreSQL 换了一次启动，历史没有核对完：不认领、不交出
    VANISHED = "vanished"  # 受理过的任务没有了：投递还在 Redis 里，PostgreSQL 不认得它
    NO_RELAY = "no_relay"
    NO_WORKER = "no_worker"
    QUIET = "quiet"  # 进程不再心跳：冻住、堵住，或没人再启动它
    RESTARTS = "restarts"  # 意外退出；几次就是反复崩溃
    BREAKER = "breaker"  # 断路器断开着
    NOT_FORWARDING = "not_forwarding"  # 有到期的，没有一个交出去
    HELD = "held"  # 槽位都占着，有活在等：在谁手里
    STALLED = "stalled"  # 只进不出：队列里有活，没有一个开始或结束
    SETBACKS = "setbacks"  # 尝试成批失败
    FAILURES = "failures"  # 最终失败的占比
    BACKLOG = "backlog"  # 等得太久或太多
    LIMITED = "limited"  # 等着我们自己的限额：名额、限速
    REDIS_LOST = "redis_lost"  # Redis 不久前丢过数据：交出的已重投
    DEAF = "deaf"  # 监听的连接听不见通知
    UNKNOWN_TYPE = "unknown_type"
    ORDERING = "ordering"  # 键被队头卡住
    EXPIRED = "expired"  # 租约过期
    UNCERTAIN = "uncertain"
    PARKED = "parked"
    PAUSED = "paused"  # 人停下的：说一声，不是要留意的事
    BOUNDED = "bounded"  # 人另定的限额：说一声


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """有人知道了的一件：比 ``level`` 更重、比 ``most`` 更多，到了 ``until``，就自己再说。"""

    id: UUID
    code: str
    subject: str
    level: str
    most: int | None
    reason: str
    actor: str
    created_at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Concern:
    """一件事。

    Attributes:
        subject: 同一代号下分得开的是谁（队列、进程、运营商）；没有就空着。
        parameters: 说它要用的：可 JSON 序列化；``seconds`` 一类的是秒，
            ``reason`` 是装进文本的原因。
        because: 它多半是哪一件（:attr:`identity`）的后果；空着即根由，或看不出。
        acknowledged: 有人知道了，收起来的：仍列着，不算进轻重。
    """

    code: ConcernCode
    level: Level
    subject: str = ""
    parameters: Parameters = field(default_factory=dict)
    since: datetime | None = None
    because: str = ""
    acknowledged: Acknowledgement | None = None

    @property
    def identity(self) -> str:
        return f"{self.code}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """一次判断；``at`` 是看的时刻，``blind`` 是数据库没有应答：余下的作不得准。"""

    at: datetime
    concerns: list[Concern]
    blind: bool = False

    @property
    def level(self) -> Level:
        if self.blind:
            return Level.UNKNOWN
        levels = {concern.level for concern in self.concerns if concern.acknowledged is None}
        return next((level for level in (Level.BAD, Level.WARN) if level in levels), Level.OK)

    @property
    def is_locked(self) -> bool:
        """数据库在，别人的锁让写入都做不成。"""
        return any(concern.code is ConcernCode.LOCKED and concern.level is Level.BAD for concern in self.concerns)


ORDER = {code: place for place, code in enumerate(ConcernCode)}


def by_weight(concern: Concern) -> tuple[bool, int, str]:
    """重的在前，同样重的按 :class:`ConcernCode` 的次序。"""
    return concern.level is not Level.BAD, ORDER[concern.code], concern.subject
