"""几个任务凑成一次的写入：一条多行语句、一次提交；命运各归各的，写坏的一个由 GroupCommit 拆开重来。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kaguan.database.pool import Connection

Row = TypeVar("Row")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Gathered(Generic[Row, Answer]):
    """一个任务的那一行；``write`` 一次写几行，给出同样多的答案，次序相同。

    ``write`` 里只许有自己的语句：同乘的在等它。单独用就是一个普通的写入。
    """

    write: Callable[[Connection, Sequence[Row]], Awaitable[Sequence[Answer]]]
    row: Row

    async def __call__(self, connection: Connection) -> Answer:
        (answer,) = await self.write(connection, [self.row])
        return answer


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
