"""按条件取消、丢弃、重来一批：条件就是列表的，先看后做，看到的就是要做的，逐个留痕。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.database.sql import load
from kaguan.outbox.operate import replay, selection
from kaguan.outbox.operate.decisions import CANCELLABLE, end, refuse_outside_transaction
from kaguan.outbox.operate.listing import LOOKING, TaskFilter, task_page
from kaguan.outbox.operate.record import TaskRecord
from kaguan.outbox.operate.replay import Replay
from kaguan.outbox.order import ordering
from kaguan.outbox.recover import gate
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, RETRYABLE, TaskStatus, moment_of
from kaguan.words.log import get_logger

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)

MOST = 5_000  # 一个事务里至多几个
SHOWN = 20
PAGE = 1_000


class Deed(StrEnum):
    """对选中的做什么。``discard``：失败、不明的不要了，成为 ``cancelled``，不再算死信。"""

    CANCEL = "cancel"
    DISCARD = "discard"
    RETRY = "retry"


WAITING = frozenset({TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RETRYING})
ALLOWED = {
    Deed.CANCEL: CANCELLABLE | {TaskStatus.RUNNING},
    Deed.DISCARD: RETRYABLE,
    Deed.RETRY: RETRYABLE,
}
USUAL = {
    Deed.CANCEL: (TaskStatus.PENDING, TaskStatus.QUEUED, TaskStatus.RETRYING),
    Deed.DISCARD: (TaskStatus.FAILED,),
    Deed.RETRY: (TaskStatus.FAILED,),
}


@dataclass(frozen=True, slots=True)
class Sweep:
    """做什么、对谁；``where.statuses`` 空着就是这件事平常的那几种。``rate`` 是每秒重来几个。

    Raises:
        ValueError: 这件事做不到其中一种状态上。
    """

    deed: Deed
    where: TaskFilter
    limit: int = PAGE
    rate: float = 50.0

    def __post_init__(self) -> None:
        if not self.where.statuses:
            object.__setattr__(self, "where", replace(self.where, statuses=USUAL[self.deed]))
        if wrong := set(self.where.statuses) - ALLOWED[self.deed]:
            raise ValueError(f"{self.deed}: {', '.join(sorted(wrong))}")

    def asked(self) -> dict[str, Any]:
        """条件，进审计：没给的不写；载荷里要有什么只说有几样，里面也许有个人信息。"""
        where = self.where
        told: dict[str, Any] = {
            "status": list(where.statuses),
            "type": where.type,
            "queue": where.queue,
            "caller": where.caller,
            "error": where.error,
            "request_id": where.request_id,
            "ordering_key": where.ordering_key,
            "since": None if where.since == FIRST_ID else moment_of(where.since).isoformat(),
            "until": None if where.before == LAST_ID else moment_of(where.before).isoformat(),
            "containing": len(where.containing) or None,
            "scheduled": where.scheduled,
            "ids": where.ids and [str(one) for one in where.ids],
        }
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Chosen:
    """选定的：（任务号，投递号），从新到老；重来的、改过投递号的不再是它们。"""

    sweep: Sweep
    shown: tuple[tuple[UUID, int], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """试运行：选中的前 ``limit`` 个（新的在前）。

    ``limited`` 即还有更多；``complete`` 为假即没有找完，条件收窄些再来。``counts`` 按状态；``matched`` 是前几个。
    """

    total: int
    limited: bool
    complete: bool
    counts: dict[str, int]
    matched: list[TaskRecord]
    chosen: Chosen = field(repr=False)


@dataclass(frozen=True, slots=True)
class Swept:
    """``done`` 做了几个；``asked`` 个正在执行，已请求停下；``skipped`` 个已不是选定时的样子，或正被别人锁着。"""

    done: int = 0
    asked: int = 0
    skipped: int = 0

    def __add__(self, other: Swept) -> Swept:
        return Swept(self.done + other.done, self.asked + other.asked, self.skipped + other.skipped)


async def preview(connection: Connection, sweep: Sweep, looking: float = LOOKING) -> Preview:
    """会选中谁，至多找 ``looking`` 秒；什么也不改。"""
    clock = asyncio.get_running_loop().time
    until = clock() + looking
    rows: list[TaskRecord] = []
    where, complete = sweep.where, False
    spent = 0.0  # 上一段用了多久：下一段也许一样久，来不及的就不找了
    while len(rows) <= sweep.limit and clock() + spent < until:
        started = clock()
        page = await task_page(connection, where, min(PAGE, sweep.limit + 1 - len(rows)))
        rows += page.rows
        if page.older is None:
            complete = True
            break
        where, spent = replace(where, before=page.older), clock() - started
    limited = len(rows) > sweep.limit
    taken = rows[: sweep.limit]
    return Preview(
        total=len(taken),
        limited=limited,
        complete=complete or limited,
        counts=dict(Counter(row.status for row in taken)),
        matched=taken[:SHOWN],
        chosen=Chosen(sweep, tuple((row.id, row.delivery) for row in taken)),
    )


def parts(chosen: Chosen, size: int = PAGE) -> Iterator[Chosen]:
    """分成几批，次序不变。"""
    for at in range(0, len(chosen.shown), size):
        yield Chosen(chosen.sweep, chosen.shown[at : at + size])


async def run(connection: Connection, chosen: Chosen, actor: str, after_commit: AfterCommit = at_once) -> Swept:
    """做选定的；须在事务里。

    Raises:
        GateClosedError: 历史还没有核对完。
    """
    refuse_outside_transaction(connection)
    await gate.ensure_open(connection)
    swept = await (_retry if chosen.sweep.deed is Deed.RETRY else _end)(connection, chosen, actor)
    after_commit(
        lambda: log.info(
            "按条件处置任务",
            actor=actor,
            deed=chosen.sweep.deed,
            count=swept.done,
            asked=swept.asked,
            skipped=swept.skipped,
        )
    )
    return swept


async def _retry(connection: Connection, chosen: Chosen, actor: str) -> Swept:
    done = 0
    for status in chosen.sweep.where.statuses:
        shown = replay.Selection(Replay(status, rate=chosen.sweep.rate), chosen.shown)
        done += len((await replay.run_selection(connection, shown, actor, done)).task_ids)
    return Swept(done, 0, len(chosen.shown) - done)


async def _end(connection: Connection, chosen: Chosen, actor: str) -> Swept:
    """取消或丢弃：先锁住，另一条语句才看得见刚被认领的；选定之后交出了、认领了的照样取消。"""
    statuses = frozenset(chosen.sweep.where.statuses)
    waits = bool(statuses & WAITING)
    cursor = await connection.execute(load(PACKAGE, "lock_many"), _columns(chosen))
    held = [row[0] for row in await cursor.fetchall()]
    whom = {
        "task_ids": held,
        "open": list(statuses | WAITING if waits else statuses),
        "ask": waits or TaskStatus.RUNNING in statuses,
        "held_too": False,
    }
    ended = [one for one in await end(connection, whom, actor, {"deed": chosen.sweep.deed}) if one.took]
    done = [one.id for one in ended if one.after != TaskStatus.RUNNING]
    asked = len(ended) - len(done)
    await ordering.release(connection, done)
    return Swept(len(done), asked, len(chosen.shown) - len(done) - asked)


def _columns(chosen: Chosen) -> dict[str, Any]:
    return {
        "task_ids": [task_id for task_id, _ in chosen.shown],
        "deliveries": [delivery for _, delivery in chosen.shown],
    }


def encode(chosen: Chosen) -> str:
    """试运行的凭据：条件与选定的每一个。"""
    return selection.listed(orjson.dumps(asdict(chosen.sweep)), chosen.shown)


def decode(text: str, deed: Deed) -> Chosen:
    """:func:`encode` 的逆。

    Raises:
        DomainError: 1001，不是这件事的试运行给的，或不完整。
    """
    head, shown = selection.unlisted(text, MOST)
    try:
        sweep = _SWEEP.validate_json(head)
    except ValidationError:
        raise selection.spurious() from None
    if sweep.deed is not deed:
        raise selection.spurious()
    return Chosen(sweep, shown)


_SWEEP = TypeAdapter(Sweep)
