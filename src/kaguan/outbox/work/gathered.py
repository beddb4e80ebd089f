"""几个任务凑成一次的读与写：一条多行语句、一次提交；命运各归各的，做坏的一个由 GroupCommit 拆开重来。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import psycopg
from opentelemetry.trace import SpanContext

from kaguan.database.group_commit import GroupCommit
from kaguan.database.pool import Connection, Pool
from kaguan.outbox.spans import batch_span
from kaguan.telemetry.propagation import current_context

Key = TypeVar("Key")
Row = TypeVar("Row")
Answer = TypeVar("Answer")
Read: TypeAlias = Callable[[Connection, Sequence[Key]], Awaitable[Sequence[Answer]]]

PATIENCE = 0.02  # 秒；一批读得比这还久，备用道才接手
MOST = 100  # 种读法；再多就是每次各造了一个函数，永远凑不到一起


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Row, Answer]):
    """A write that is made in one statement with those of other tasks that write at the same moment.

    Give it to ``Done(effect=…)`` or :meth:`Attempt.once` like any other write; what it fails on fails its task alone.

    Attributes:
        write: is given a connection, inside a transaction, and the rows of several tasks; answers one for each, in
            their order. It holds statements and waits for nobody else: others wait for it.
        row: of this task.
    """

    write: Callable[[Connection, Sequence[Row]], Awaitable[Sequence[Answer]]]
    row: Row

    async def __call__(self, connection: Connection) -> Answer:
        (answer,) = await self.write(connection, [self.row])
        return answer


@dataclass(frozen=True, slots=True)
class _Asked(Generic[Key]):
    key: Key
    context: SpanContext = field(default_factory=current_context)


@dataclass(slots=True)
class Reads:
    """一个进程的处理器凑在一起的读都经这里：一条语句的来回，比它查的那几行贵得多。"""

    pool: Pool
    _groups: dict[Read[Any, Any], GroupCommit[_Asked[Any], Any]] = field(default_factory=dict)

    async def read(self, read: Read[Key, Answer], key: Key) -> Answer:
        group = self._groups.get(read)
        if group is None:
            if len(self._groups) == MOST:
                raise RuntimeError(
                    f"read() has seen {MOST} functions: give the same one each time, not one made in the handler"
                    f" / read() 见过 {MOST} 个函数了：每次给同一个，不要在处理器里现造"
                )
            group = self._groups[read] = GroupCommit(
                self.pool,
                partial(_answered, read),
                PATIENCE,
                around=lambda batch: batch_span("SELECT", [asked.context for asked in batch]),
            )
        try:
            answer: Answer = await group.submit(_Asked(key))
        except TimeoutError:  # 是我们自己的库不答，不是处理器叫的外面
            raise psycopg.OperationalError("PostgreSQL did not answer in time") from None
        return answer


async def _answered(read: Read[Key, Answer], connection: Connection, batch: Sequence[_Asked[Key]]) -> Sequence[Answer]:
    answers = await read(connection, [asked.key for asked in batch])
    if len(answers) != len(batch):
        raise ValueError(
            f"{read!r} was asked for {len(batch)} and answered {len(answers)}: one for each, in their order"
            f" / 问了 {len(batch)} 个，答了 {len(answers)} 个：一个不能少，次序相同"
        )
    return answers


async def write_together(connection: Connection, effects: Sequence[Gathered[Any, Any] | None]) -> list[Any]:
    """同一个 ``write`` 的合成一次；答案的次序与输入相同，没有要写的答 None。"""
    answers: list[Any] = [None] * len(effects)
    places: dict[Callable[..., Awaitable[Sequence[Any]]], list[int]] = {}
    for place, effect in enumerate(effects):
        if effect is not None:
            places.setdefault(effect.write, []).append(place)
    for write, mine in places.items():
        rows = [effect.row for place in mine if (effect := effects[place]) is not None]
        for place, answer in zip(mine, await write(connection, rows), strict=True):
            answers[place] = answer
    return answers
