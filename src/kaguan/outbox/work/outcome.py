"""处理结果是值，不是异常：预料之中的结局都在这里，异常只表示意外。

``reason`` 记在任务上，给任务的主人看：一个 :class:`Reason`，显示时按读者的语言；或自己写好的一句话，原样显示。
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kaguan.database.pool import Connection
from kaguan.words.reasons import Reason

# 处理器自己的写入：与结算在同一事务里执行，结算被挡住则一并回滚
Write: TypeAlias = Callable[[Connection], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Done:
    """做完了。``result`` 进 tb_task.result（可 JSON 序列化，不含个人信息以外的大块内容）。"""

    result: dict[str, Any] = field(default_factory=dict)
    effect: Write | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """暂时的失败：耗一次尝试，按退避再来。

    Attributes:
        delay: 对方指定的等待下限，秒。
        outage: 对方不在、或叫晚些来：退避垫高，熬得过停机与灰名单。
        result: 尝试用尽时留在任务上的半份结果。
    """

    reason: Reason | str
    delay: float | None = None
    effect: Write | None = None
    outage: bool = False
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """永久的失败：不再重试；``result`` 是留在任务上的半份结果。"""

    reason: Reason | str
    effect: Write | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Uncertain:
    """外部调用的结局不明（只可能来自无法幂等的调用）：由策略或人决定。"""

    reason: Reason | str
    effect: Write | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """用户要求取消，处理器在安全点停下。"""

    reason: Reason | str
    effect: Write | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """让位：还出名额，``delay`` 秒之后由新的投递接着做；不耗尝试。

    处理器只许在已有进展、只是排不上自己的限额、或在等外面恢复时返回它，否则永远做不完；
    执行的外壳另用它把读不懂的新载荷留给升级过的进程。

    Attributes:
        waiting_for: 在等谁恢复，一个名字：任务上看得见、有自己的量表，
            一段等待只留一笔事件；它好了，relay 提前叫回来，不等 ``delay`` 到。
    """

    reason: Reason | str
    effect: Write | None = None
    delay: float = 0.0
    waiting_for: str | None = None


Outcome: TypeAlias = Done | Retry | Discard | Uncertain | Cancelled | Snooze
