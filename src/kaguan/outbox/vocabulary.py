"""任务的词汇：队列与优先级、状态、时间线上的事件。状态机见 docs/002-sqlalchemy-postgres-saq/架构说明.md。"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from uuid import UUID

FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)
_UUID7_TIME_SHIFT = 80  # RFC 9562 §5.7：前 48 位是毫秒时间戳

START = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))  # 从头看起


class Priority(StrEnum):
    """How urgent a task is: three queues, which share a worker's slots 6 : 3 : 1 while they compete; none starves.

    Attributes:
        CRITICAL: what somebody waits for; finds a free slot at once.
        DEFAULT: what is not said to be otherwise.
        LOW: what may take its time.
    """

    CRITICAL = "critical"
    DEFAULT = "default"
    LOW = "low"

    @property
    def rank(self) -> PriorityRank:
        """Its place in the order, the smaller the earlier."""
        return PriorityRank[self.name]


class PriorityRank(IntEnum):
    """发件箱里的次序：小的先走。"""

    CRITICAL = 0
    DEFAULT = 1
    LOW = 2

    @property
    def queue(self) -> Priority:
        return Priority[self.name]


def split_slots(total: int, weights: Sequence[int]) -> dict[Priority, int]:
    """三个队列都有活时各保几个槽位，``weights`` 依 :class:`Priority` 的次序：每个至少一个，零头归最重的。"""
    slots = [max(1, total * weight // sum(weights)) for weight in weights]
    slots[weights.index(max(weights))] += total - sum(slots)
    return dict(zip(Priority, slots, strict=True))


class TaskStatus(StrEnum):
    """Where a task is.

    Attributes:
        PENDING: accepted; not yet handed to a worker, or not yet due.
        QUEUED: handed over, waiting for a free slot.
        RUNNING: a worker has it.
        RETRYING: an attempt failed, or gave up its slot (``Snooze``); it comes again.
        SUCCEEDED: done; final.
        FAILED: attempts used up, or ``Discard``; final until a person retries it.
        UNCERTAIN: an outside call may or may not have happened; waits for a person.
        CANCELLED: by a person; final.
    """

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    CANCELLED = "cancelled"


SPARE_CONNECTIONS = 10  # 一次投递至多占一条 Redis 连接，另留这么多：取件、SAQ 的上游任务、限流
SUSPECT = 2  # 连着丢过这么多次租约：也许就是它弄死了 worker；只丢过一次的多半是陪着死的
HIGHEST = 2**31 - 2  # 投递号至多这么大：还加得了一
FINAL = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELLED})
RETRYABLE = frozenset({TaskStatus.FAILED, TaskStatus.UNCERTAIN})  # 人可以让它重来


NOTE_LENGTH = 500
HIGHEST_AT_ONCE, HIGHEST_RATE = 100, 10_000  # 运行中另定的限额至多这么多
PAUSED = "pause:"  # 停着的行在等的（waiting_for）：它与暂停的号


class Resolution(StrEnum):
    """What a person found out about an outside call whose fate was unknown.

    Attributes:
        HAPPENED: it was made.
        NOT_HAPPENED: it was not.
    """

    HAPPENED = "happened"
    NOT_HAPPENED = "not_happened"


class PauseScope(StrEnum):
    """What a pause holds back.

    Attributes:
        TYPE: the tasks of a type.
        QUEUE: those of a priority.
        CARRIER: the turns at somebody outside, one of the names in ``resources`` of a type.
        CALLER: those accepted on behalf of a principal.
        KEY: those of an ordering key, whoever the principal is.
    """

    TYPE = "type"
    QUEUE = "queue"
    CARRIER = "carrier"
    CALLER = "caller"
    KEY = "key"


class LimitScope(StrEnum):
    """What a limit bounds.

    Attributes:
        TYPE: the tasks of a type, at once in one worker.
        CARRIER: the calls to somebody outside, by all workers together.
    """

    TYPE = "type"
    CARRIER = "carrier"


class TaskEventKind(StrEnum):
    """时间线里的例外事件；正常路径由 tb_task 的时间列说明。"""

    ATTEMPT_FAILED = "attempt_failed"
    REDRIVEN = "redriven"
    FENCED = "fenced"
    UNCERTAIN = "uncertain"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    INTERRUPTED = "interrupted"
    PARKED = "parked"
    RESEND = "resend"
    TO_VERIFY = "to_verify"
    VERIFIED = "verified"
    RESOLVED = "resolved"
    CHANGED = "changed"


def id_floor(moment: datetime) -> UUID:
    """不早于 ``moment`` 的最小 UUIDv7，用作时间条件的主键边界。"""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << _UUID7_TIME_SHIFT)


def moment_of(task_id: UUID) -> datetime:
    """UUIDv7 里的时刻，:func:`id_floor` 的逆。"""
    return datetime.fromtimestamp((task_id.int >> _UUID7_TIME_SHIFT) / 1000, UTC)
