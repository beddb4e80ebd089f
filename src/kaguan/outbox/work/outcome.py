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
    """Done: the task has succeeded.

    Example::

        return Done({"receipt": 7}, effect=lambda tx: tx.execute("insert into receipt values (%s)", [7]))

    Attributes:
        result: is kept with the task, as JSON; nothing large, nothing secret.
        effect: what you write, given a psycopg connection in the transaction that settles the task: it is done once,
            or not at all if the task is no longer this worker's. An exception in it is a failed attempt.
    """

    result: dict[str, Any] = field(default_factory=dict)
    effect: Write | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """A failure that may pass: it uses up an attempt and comes again after the type's back-off.

    Attributes:
        reason: for the owner of the task to read, in your words.
        delay: seconds, at least; what the other side asked for.
        effect: as of :class:`Done`.
        outage: the other side is away, or said come later: the back-off is raised to outlast it.
        result: kept with the task if this was the last attempt.
    """

    reason: Reason | str
    delay: float | None = None
    effect: Write | None = None
    outage: bool = False
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """A failure that is final: the task has failed, and is tried again only if a person asks.

    Attributes:
        reason: for the owner of the task to read, in your words.
        effect: as of :class:`Done`.
        result: what is kept with the task.
    """

    reason: Reason | str
    effect: Write | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Uncertain:
    """Nobody knows whether the outside call happened: ``unknown`` of the type decides, or a person.

    Attributes:
        reason: for the person to read.
        effect: as of :class:`Done`.
    """

    reason: Reason | str
    effect: Write | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """用户要求取消，处理器在安全点停下。"""

    reason: Reason | str
    effect: Write | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """Later: the slot is given up, and the task comes again after ``delay`` seconds; no attempt is used up.

    Return it only after progress that is stored, or while waiting for somebody: nothing else ends such a task.

    Attributes:
        reason: for the owner of the task to read, in your words.
        effect: as of :class:`Done`.
        delay: seconds.
        waiting_for: the name of whom it waits for; shown on the task and counted.
    """

    reason: Reason | str
    effect: Write | None = None
    delay: float = 0.0
    waiting_for: str | None = None


Outcome: TypeAlias = Done | Retry | Discard | Uncertain | Cancelled | Snooze
