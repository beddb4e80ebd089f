"""在等外面的：写在发件箱行上，有了名额、外面好了，就提前叫回来。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.outbox.work"


@dataclass(frozen=True, slots=True)
class Waiting:
    """在等外面恢复的：几个（到 cap 为止），最久的等了几秒。"""

    waiting: int
    oldest: float | None


async def waiting(connection: Connection, waiting_for: str, cap: int) -> Waiting:
    async with connection.cursor(row_factory=class_row(Waiting)) as cursor:
        await cursor.execute(load(PACKAGE, "waiting"), {"waiting_for": waiting_for, "cap": cap})
        return await cursor.fetchone() or Waiting(0, None)


async def recall(connection: Connection, waiting_for: str, *, room: int, near: float, spread: float) -> int:
    """把在等 ``waiting_for`` 的最先 ``room`` 行里，还要等 ``near`` 秒以上的提前到 ``spread`` 秒之内；返回几个。"""
    parameters = {"waiting_for": waiting_for, "room": room, "near": near, "spread": spread}
    return (await connection.execute(load(PACKAGE, "recall"), parameters)).rowcount


async def places(connection: Connection, named: Sequence[str], cap: int) -> dict[str, Waiting]:
    """各名额有几个在等。"""
    cursor = await connection.execute(load(PACKAGE, "places"), {"places": list(named), "cap": cap})
    return {place: Waiting(waiting, oldest) for place, waiting, oldest in await cursor.fetchall()}


async def call_in(
    connection: Connection, rooms: Mapping[str, int], weights: Sequence[int], near: float
) -> list[tuple[str, int]]:
    """有了名额（``rooms``，名额 → 几个），把在等的叫回来；返回叫到的各（名额，队列）。``weights`` 是几个队列怎么分。"""
    parameters = {"places": list(rooms), "rooms": list(rooms.values()), "weights": list(weights), "near": near}
    return await (await connection.execute(load(PACKAGE, "call_in"), parameters)).fetchall()
