"""有哪些 worker，要其中一个收工：写一行，它看见了就不再取件，做完手里的就走（docs/adr/0039）。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from kaguan.database.pool import AfterCommit, Connection
from kaguan.database.sql import load
from kaguan.outbox.errors import WorkerNotFoundError
from kaguan.outbox.operate.lasting import LONGEST_NAME
from kaguan.outbox.vocabulary import NOTE_LENGTH
from kaguan.presence.census import Census
from kaguan.words.errors import Code, refused
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)

CAP = 10_000  # 在手里的数到这里为止
SHOWN = 20  # 说错了名字的，至多列这么多个


@dataclass(frozen=True, slots=True)
class Drain:
    """要它收工：为什么，谁，何时。"""

    worker: str
    reason: str
    actor: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerThere:
    """一个 worker；看不见名片的（Redis 不在）只有手里的。

    Attributes:
        held: 手里有几个任务，最久的从 ``oldest_started_at`` 起。
        quiet_seconds: 最近一次心跳到现在。
        drain: 已经要它收工的。
    """

    name: str
    held: int
    oldest_started_at: datetime | None
    slots: int | None
    version: str | None
    host: str | None
    pid: int | None
    started_at: datetime | None
    quiet_seconds: float | None
    drain: Drain | None


@dataclass(frozen=True, slots=True)
class _Hand:
    worker: str
    held: int
    oldest_started_at: datetime


async def workers(connection: Connection, census: Census | None) -> list[WorkerThere]:
    """有心跳的，与手里有任务的，按名字。"""
    cards = {} if census is None else {one.name: one for one in census.of("worker")}
    hands = {one.worker: one for one in await _hands(connection)}
    asked = {one.worker: one for one in await drains(connection)}
    found = []
    for name in sorted({*cards, *hands}):
        card, hand = cards.get(name), hands.get(name)
        found.append(
            WorkerThere(
                name=name,
                held=0 if hand is None else hand.held,
                oldest_started_at=None if hand is None else hand.oldest_started_at,
                slots=None if card is None else sum(card.slots.values()),
                version=None if card is None else card.version,
                host=None if card is None else card.host,
                pid=None if card is None else card.pid,
                started_at=None if card is None else card.started_at,
                quiet_seconds=None if card is None else round(card.quiet, 1),
                drain=asked.get(name),
            )
        )
    return found


async def drain(
    connection: Connection, census: Census | None, worker: str, reason: str, actor: str, after_commit: AfterCommit
) -> Drain:
    """两秒左右之内它不再取件，做完手里的（至多停机的宽限）就走；已经说过的照第一次说的。

    Raises:
        DomainError: 1001，没有说原因，或说得太长。
        WorkerNotFoundError: 没有这个 worker，或它已经走了。
    """
    if not 1 <= len(reason.strip()) <= NOTE_LENGTH:
        raise refused(Code.INVALID_PARAMETERS, Reason("outbox.drain"), "reason")
    names = [one.name for one in await workers(connection, census) if len(one.name) <= LONGEST_NAME]
    if worker not in names:
        raise WorkerNotFoundError(worker, names[:SHOWN], hears=census is not None)
    async with connection.cursor(row_factory=class_row(Drain)) as cursor:
        await cursor.execute(load(PACKAGE, "drain"), {"worker": worker, "reason": reason.strip(), "actor": actor})
        [made] = await cursor.fetchall()
    after_commit(lambda: log.info("要一个 worker 收工", worker=worker, actor=made.actor, reason=made.reason))
    return made


async def _hands(connection: Connection) -> list[_Hand]:
    async with connection.cursor(row_factory=class_row(_Hand)) as cursor:
        await cursor.execute(load(PACKAGE, "in_hand_of"), {"cap": CAP})
        return await cursor.fetchall()


async def drains(connection: Connection) -> list[Drain]:
    """要收工的，先说的在前。"""
    async with connection.cursor(row_factory=class_row(Drain)) as cursor:
        await cursor.execute(load(PACKAGE, "drains"))
        return await cursor.fetchall()
