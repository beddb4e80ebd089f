"""谁占着、谁在等：在手里的按类型、提交者、worker，在等的按队列、类型、提交者、有序键，照刚才的速度还要多久。

每条语句都有上限：积压数不完就随机取一些来估，不数到底。
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.presence.census import Census, Process
from kaguan.presence.holders import slot_use
from kaguan.verdict.judging import QUIET
from kaguan.verdict.observation import PACKAGE, Flow, pace, read_flow

IN_HAND = 1_000  # 个：在手里的看到这里为止
CAP = 1_000  # 行：在等的，各样数到这里为止，再多就估
BLOCKS = 200  # 估的时候读这么多块
HANDED, NAMED = 10_000, 200  # 已交出的数到这里为止，只认这么多个是谁的
HEADS = 200  # 只看最老的这么多个队头
GROUPS = 200  # 行：各样合起来至多这么多组
SHOWN = 20  # 每样至多说这么多

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class InHand:
    """一个在手里的任务，``seconds`` 秒前开始的。"""

    task_id: UUID
    type: str
    caller: str
    worker: str
    since: datetime
    progress: dict[str, Any] | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Group:
    """在等的一组：类型、队列、提交者只有一样不空。"""

    type: str | None
    queue: str | None
    caller: str | None
    waiting: int
    is_more: bool


@dataclass(frozen=True, slots=True)
class Key:
    """一个有序键：队头是谁，后面至多排着几个。"""

    key: str
    caller: str
    task_id: UUID
    behind: int


@dataclass(frozen=True, slots=True)
class Held:
    """一种、一人手里有几个，最久的开始了几秒；其中几个在等谁，只有类型说得出。"""

    name: str
    count: int
    longest_seconds: float
    waits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hand:
    """一个 worker 手里有几个；没有名片的（Redis 不在，或它刚没了）说不出它是谁。``busy`` 个占着槽位，别的在等外面。"""

    name: str
    count: int
    longest_seconds: float
    busy: int | None = None
    slots: int | None = None
    version: str | None = None
    host: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """一队、一种、一人有几个在等；照刚才的速度每秒做完几个、还要几秒，没有动静的、不知道的是 None。"""

    name: str
    count: int
    per_second: float | None = None
    seconds_left: int | None = None


@dataclass(frozen=True, slots=True)
class Slots:
    """活着的 worker 一共几个槽位，占着几个。"""

    total: int
    held: int


@dataclass(frozen=True, slots=True)
class Holders:
    """``slots`` 为 None 即 Redis 不在；``capped``：在手里的不止这些；``estimated``：在等的是估的。"""

    slots: Slots | None
    running: int
    capped: bool
    held_types: Sequence[Held]
    held_callers: Sequence[Held]
    held_workers: Sequence[Hand]
    longest: Sequence[InHand]
    waiting: int
    estimated: bool
    waiting_queues: Sequence[Line]
    waiting_types: Sequence[Line]
    waiting_callers: Sequence[Line]
    waiting_keys: Sequence[Key]


def held(in_hand: Sequence[InHand], by: Callable[[InHand], str]) -> list[Held]:
    """按 ``by`` 归并，多的在前。``in_hand`` 先开始的在前，所以头一个见到的最久。"""
    counts, longest = Counter(map(by, in_hand)), dict[str, float]()
    for one in in_hand:
        longest.setdefault(by(one), one.seconds)
    return [Held(name, count, longest[name]) for name, count in _most(counts)]


def lines(counts: Mapping[str, int], flow: Sequence[Flow], of: Callable[[Flow], str]) -> list[Line]:
    found = []
    for name, count in _most(counts):
        rate = pace(line for line in flow if of(line) == name)
        found.append(Line(name, count, round(rate, 1), math.ceil(count / rate) if rate else None))
    return found


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]


def _counted(groups: Iterable[Group], by: Callable[[Group], str | None]) -> Counter[str]:
    counts = Counter[str]()
    for group in groups:
        if (name := by(group)) is not None:
            counts[name] += group.waiting
    return counts


async def look(connection: Connection, census: Census | None) -> Holders:
    """看一眼；``connection`` 自动提交。没有名片的，照样说得出在库里的。"""
    in_hand = await _rows(connection, InHand, "in_hand", {"cap": IN_HAND})
    groups = await _rows(connection, Group, "in_line", {"cap": CAP, "limit": GROUPS})
    if any(group.is_more for group in groups):
        groups = await _rows(connection, Group, "in_line_sampled", {"blocks": BLOCKS, "limit": GROUPS})
    groups += await _rows(connection, Group, "in_line_handed", {"cap": HANDED, "named": NAMED, "limit": GROUPS})
    keys = await _rows(connection, Key, "in_order", {"cap": HEADS, "limit": SHOWN})
    flow = await read_flow(connection)
    workers = {} if census is None else {one.name: one for one in census.of("worker")}
    use = slot_use(one for one in workers.values() if one.quiet <= QUIET)
    waits = {holder.type: holder.waiting for holder in use.holders}
    queues = _counted(groups, lambda group: group.queue)
    return Holders(
        slots=None if census is None else Slots(use.total, use.held),
        running=len(in_hand),
        capped=len(in_hand) >= IN_HAND,
        held_types=[replace(one, waits=waits.get(one.name, {})) for one in held(in_hand, lambda one: one.type)],
        held_callers=held(in_hand, lambda one: one.caller),
        held_workers=[_hand(one, workers.get(one.name)) for one in held(in_hand, lambda one: one.worker)],
        longest=in_hand[:SHOWN],
        waiting=queues.total(),
        estimated=any(group.is_more for group in groups),
        waiting_queues=lines(queues, flow, lambda line: line.queue),
        waiting_types=lines(_counted(groups, lambda group: group.type), flow, lambda line: line.type),
        waiting_callers=[Line(*one) for one in _most(_counted(groups, lambda group: group.caller))],
        waiting_keys=keys,
    )


def _hand(one: Held, card: Process | None) -> Hand:
    if card is None:
        return Hand(one.name, one.count, one.longest_seconds)
    return Hand(
        name=one.name,
        count=one.count,
        longest_seconds=one.longest_seconds,
        busy=sum(card.busy.values()),
        slots=sum(card.slots.values()),
        version=card.version,
        host=card.host,
        pid=card.pid,
    )


async def _rows(connection: Connection, kind: type[Row], name: str, parameters: Mapping[str, object]) -> list[Row]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(load(PACKAGE, name), parameters)
        return await cursor.fetchall()
