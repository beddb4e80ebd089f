"""任务类型：关于一种任务的一切，说一次，由拥有它的领域声明；relay 与 worker 都从这里取答案。"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeAlias, TypedDict, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import PydanticSerializationError
from typing_extensions import TypeVar

from kaguan.outbox.vocabulary import TaskEventKind
from kaguan.words.reasons import Reason, ReasonError
from kaguan.words.units import DAY

_NAME = re.compile(r"[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)+")  # 与 tb_task 的约束相同
NAME_LENGTH = 64
MOST_ATTEMPTS = 101
LONGEST_BACKOFF = 30 * DAY
LONGEST_LIMIT = DAY


def is_type_name(name: str) -> bool:
    """``domain:action``。"""
    return _NAME.fullmatch(name) is not None and len(name) <= NAME_LENGTH


class Payload(BaseModel):
    """What a task carries: a frozen pydantic model, stored as JSON, without unknown fields, NaN and infinity.

    Who changes it raises ``v``, and must still understand what was stored before: give new fields a default. While
    old and new processes run side by side, a worker leaves a payload of a newer version to one that knows it.

    Example::

        class Receipt(Payload):
            v: int = 2
            order_id: int
            currency: str = "EUR"  # since version 2

    Attributes:
        v: the version that is written; its default is the newest one understood here, 1 the oldest.

    Raises:
        pydantic.ValidationError: the fields do not fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")

    v: int = 1

    @field_validator("v")
    @classmethod
    def _known(cls, version: int) -> int:
        known = cls.model_fields["v"].default
        if not 1 <= version <= known:
            raise ValueError(f"载荷是第 {version} 版，这里懂第 1 到 {known} 版 / versions 1 to {known} are understood")
        return version


class Effect(StrEnum):
    """What doing a task once more would do.

    Attributes:
        REPEATABLE: nothing: it writes only to PostgreSQL, or the other side knows a repetition by ``task_id``.
        ONCE: harm that cannot be taken back; the outside call stands in ``async with attempt.once():``.
    """

    REPEATABLE = "repeatable"  # 只在 PostgreSQL 里，或对方认得重复：死在半途就再做一遍
    ONCE = "once"  # 外面的调用重复了收不回：先记意向，死在意向与结局之间即结局不明


class Unknown(StrEnum):
    """What becomes of a ``ONCE`` task whose outside call may or may not have happened.

    Attributes:
        HOLD: it is ``UNCERTAIN`` until a person decides.
        RESEND: it is done again, with the same ``task_id``.
        VERIFY: ``verify=`` asks outside first.
    """

    HOLD = "hold"  # 等人定夺
    RESEND = "resend"  # 再做一次，用同样的标识
    VERIFY = "verify"  # 重新投递，由处理器先去查证


class KeyPolicy(StrEnum):
    """What a task of an ordering key that failed, or is ``UNCERTAIN``, means for those behind it.

    Attributes:
        SKIP: they go on.
        HOLD: they wait until a person decides: it is done once more, or cancelled.
    """

    SKIP = "skip"
    HOLD = "hold"


class NewerPayloadError(ReasonError):
    """载荷是更新的版本写的：本进程不猜，留给升级过的。"""


class UnfitPayloadError(ReasonError):
    """载荷的版本认得，内容不符：谁来都一样。"""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a task waits after a failed attempt: after the n-th, evenly between none and ``base * 2 ** (n - 1)``.

    The jitter is always there, so that tasks that failed together do not come back together; a wait of at least
    so long is asked for by the handler, ``Retry(reason, delay=…)``. For ``Retry(outage=True)`` a floor of 10 s to
    30 min, growing with n, is put under it; neither exceeds ``cap``.

    Attributes:
        base: seconds, the most after the first failed attempt.
        cap: seconds, the most after any.

    Raises:
        ValueError: not ``0 < base <= cap <= 30 days``.
    """

    base: float = 2.0
    cap: float = 1_800.0

    def __post_init__(self) -> None:
        if not 0 < self.base <= self.cap <= LONGEST_BACKOFF:
            raise ValueError(f"0 < base <= cap <= {LONGEST_BACKOFF} s / 退避要 0 < base <= cap <= {LONGEST_BACKOFF} 秒")


P = TypeVar("P", bound=Payload)
P_co = TypeVar("P_co", bound=Payload, covariant=True, default=Payload)  # 不读载荷的，写 Attempt 就行
P_contra = TypeVar("P_contra", bound=Payload, contravariant=True)
Model: TypeAlias = type[P]  # 类里 ``type`` 是任务类型，写不得


@dataclass(frozen=True, slots=True)
class TaskType(Generic[P]):
    """Everything there is to say about a kind of task, said once; :meth:`Outbox.type` and :meth:`Outbox.task` make it.

    Attributes:
        name: ``domain:action``; a name that is retired is not used again.
        payload: the model of what it carries.
        effect: what doing it once more would do.
        unknown: what becomes of it when nobody knows; wanted for ``Effect.ONCE`` alone.
        shareable: short and many: several travel in one delivery.
        rows: tables of yours that expire with the task, each with a column ``task_id``.
        limit: at most so many at once in one worker; wanted where :meth:`Attempt.outside` gives up the slot.
        resources: outside parties to queue for, and how many at once in one worker each (:meth:`Attempt.place`).
        max_attempts: 1 to 101; ``TaskSettings.max_attempts`` unless given.
        backoff: how long to wait after a failed attempt; as ``TaskSettings`` says unless given.
        time_limit: seconds an attempt may take, at most a day; ``WorkerSettings.task_timeout`` unless given.
        key_policy: whether those behind one that failed on its ordering key go on.
        summary: fields of the payload by which a person knows it again, ``changes.iccid`` for one further down;
            shown in lists, masked for who may only look.

    Raises:
        ValueError: the name is not of this form, ``unknown`` does not fit ``effect``, a number is out of its range,
            ``summary`` names no field.
    """

    name: str
    payload: Model[P]
    effect: Effect
    unknown: Unknown | None = None
    shareable: bool = False
    rows: tuple[str, ...] = ()
    limit: int | None = None
    resources: Mapping[str, int] = field(default_factory=dict, hash=False)
    max_attempts: int | None = None
    backoff: Backoff | None = None
    time_limit: float | None = None
    key_policy: KeyPolicy = KeyPolicy.SKIP
    summary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not is_type_name(self.name):
            raise ValueError(
                f"a type is named domain:action, in at most {NAME_LENGTH} of a-z0-9_: {self.name!r}"
                f" / 任务类型的名字应形如 领域:动作，至多 {NAME_LENGTH} 个字符"
            )
        if (self.effect is Effect.ONCE) != (self.unknown is not None):
            raise ValueError(
                f"{self.name}: effect=ONCE, and no other, wants unknown="
                " / 不能重做的任务（且只有它）要说清结局不明的怎么办（unknown=）"
            )
        if any(places < 1 for places in (1 if self.limit is None else self.limit, *self.resources.values())):
            raise ValueError(f"{self.name}: limit and resources are at least 1 / 名额（limit、resources）至少一个")
        if self.max_attempts is not None and not 1 <= self.max_attempts <= MOST_ATTEMPTS:
            raise ValueError(f"{self.name}：max_attempts 从 1 到 {MOST_ATTEMPTS} / from 1 to {MOST_ATTEMPTS}")
        if self.time_limit is not None and not 0 < self.time_limit <= LONGEST_LIMIT:
            raise ValueError(f"{self.name}: 0 < time_limit <= {LONGEST_LIMIT} s / time_limit 至多 {LONGEST_LIMIT} 秒")
        if absent := [path for path in self.summary if path.partition(".")[0] not in self.payload.model_fields]:
            raise ValueError(f"{self.name}: summary: no field {absent} / 载荷里没有这些字段")

    def __str__(self) -> str:
        return self.name

    def read(self, stored: Mapping[str, Any]) -> P:
        """Validate a stored payload.

        Raises:
            NewerPayloadError: its version is newer than the one known here.
            UnfitPayloadError: its version is known, and it does not fit.
        """
        version, known = stored.get("v"), self.payload.model_fields["v"].default
        if isinstance(version, int) and version > known:
            raise NewerPayloadError(Reason("outbox.newer_payload", {"version": version, "known": known}))
        try:
            return self.payload.model_validate(stored)
        except ValidationError as error:
            raise UnfitPayloadError(Reason("outbox.unfit_payload", {"places": error.error_count()})) from error

    def unwritable(self, payload: P, error: PydanticSerializationError) -> ValueError:
        """What to raise of a payload that is no JSON."""
        fields = [name for name in type(payload).model_fields if not _is_json(payload, name)]
        return ValueError(
            f"{self}: {type(payload).__name__} {fields} cannot be written as JSON: {error}"
            f" / {self}：载荷的 {fields} 写不成 JSON"
        )

    def is_open(self, path: str) -> bool:
        """Whether everybody may see this field of ``summary``: no free text."""
        field = self.payload.model_fields.get(path)
        return field is not None and not _is_free_text(field.annotation)

    def place(self, whom: str) -> str:
        """What a place in the queue of ``whom`` is called: the ``waiting_for`` of the tasks that wait for it."""
        return f"{whom}/{self.name}"

    @property
    def places(self) -> tuple[str, ...]:
        """The places it may have to wait for."""
        return (self.name, *map(self.place, self.resources))


def _is_json(payload: Payload, name: str) -> bool:
    try:
        payload.model_dump_json(include={name})
    except PydanticSerializationError:
        return False
    return True


def _is_free_text(annotation: Any) -> bool:
    return annotation is str or (
        get_origin(annotation) is not Literal and any(map(_is_free_text, get_args(annotation)))
    )


class Options(TypedDict, total=False):
    """What a type may say about itself.

    Attributes:
        effect: ``REPEATABLE``, or ``ONCE`` for what cannot be repeated: the call stands in ``attempt.once()``.
        unknown: what becomes of a ``ONCE`` task whose call may have happened; wanted for ``ONCE`` alone.
        max_attempts: 1 to 101; ``tasks.max_attempts`` unless given.
        backoff: how long to wait after a failed attempt; ``tasks.backoff_base`` and ``backoff_cap`` unless given.
        time_limit: seconds an attempt may take, at most a day; ``worker.task_timeout`` unless given.
        key_policy: of those accepted with ``key=``: whether what is behind one that failed goes on (``SKIP``, unless
            given) or waits for a person (``HOLD``).
        shareable: short and many: several travel in one delivery.
        limit: at most so many at once in one worker.
        resources: outside parties to queue for, and how many at once in one worker each (``attempt.place``).
        rows: tables of yours that expire with the task, each with a column ``task_id``.
    """

    effect: Effect
    unknown: Unknown
    max_attempts: int
    backoff: Backoff
    time_limit: float
    key_policy: KeyPolicy
    shareable: bool
    limit: int
    resources: Mapping[str, int]
    rows: tuple[str, ...]


class TaskTypes(dict[str, TaskType[Any]]):
    """一个应用的全部任务类型，按名字取。

    Raises:
        ValueError: 有重名。
    """

    def __init__(self, types: Iterable[TaskType[Any]]) -> None:
        listed = tuple(types)
        super().__init__((one.name, one) for one in listed)
        if len(self) != len(listed):
            names = [one.name for one in listed]
            raise ValueError(
                f"two types of one name / 任务类型重名：{sorted({name for name in names if names.count(name) > 1})}"
            )

    @property
    def abreast(self) -> dict[str, int]:
        """可以同乘的，一个 worker 里几个并排着做：有名额管着的照名额，别的不知道，算一个。"""
        return {
            one.name: min([*one.resources.values(), *([one.limit] if one.limit else [])], default=1)
            for one in self.values()
            if one.shareable
        }

    @property
    def once(self) -> tuple[str, ...]:
        """效果收不回的。"""
        return tuple(one.name for one in self.values() if one.effect is Effect.ONCE)

    def longest(self, otherwise: float) -> float:
        """一次尝试至多做多久，秒；``otherwise`` 是没有自己的时限的。"""
        return max((one.time_limit or otherwise for one in self.values()), default=otherwise)

    @property
    def rows(self) -> tuple[str, ...]:
        """随任务一同过期的附属表，不重复。"""
        return tuple(dict.fromkeys(table for one in self.values() for table in one.rows))

    @property
    def redelivered(self) -> dict[str, TaskEventKind]:
        """不明之后重新投递、而不是直接搁置的 → 时间线上记作什么：先查证再定，还是同一标识再做。"""
        kinds = {Unknown.RESEND: TaskEventKind.RESEND, Unknown.VERIFY: TaskEventKind.TO_VERIFY}
        return {one.name: kinds[one.unknown] for one in self.values() if one.unknown in kinds}
