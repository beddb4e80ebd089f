"""按条件重放：先看后做，看到的就是要做的；限速，逐个留痕。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import AfterValidator, AwareDatetime, Field

from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.database.sql import load
from kaguan.outbox.operate.listing import LOOKING
from kaguan.outbox.recover import gate
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, RETRYABLE, Priority, TaskStatus, id_floor
from kaguan.words.log import get_logger

PACKAGE = "kaguan.outbox.operate"

log = get_logger(__name__)

PREVIEW_LIMIT = 20
STEP = 1_000  # 没有索引的条件，一段看这么多个
REPLAY_LIMIT = 1_000  # 一次至多重放几个
REPLAY_RATE_LIMIT = 500  # 每秒至多重放几个
REASON_LIMIT = 200  # 字；死信按原因的前这么多字归并

Storable = Annotated[str, Field(max_length=REASON_LIMIT, pattern=r"^[^\x00]*$")]


def one_line(reason: str) -> str:
    """``reason`` 条件里的写法，同 ``replay.sql``。"""
    return " ".join(reason.split())[:REASON_LIMIT]


def _replayable(status: TaskStatus) -> TaskStatus:
    if status not in RETRYABLE:
        raise ValueError(f"{status} 状态的任务不能重放")
    return status


@dataclass(frozen=True, slots=True)
class Replay:
    """重放的条件。

    ``error`` 是错误原因（中文的说法）里的一段字，或其中任一个代号；``reason`` 是整个原因（同上，空白归一、前
    ``REASON_LIMIT`` 字），空串即没有原因的；
    ``rate`` 是每秒个数。
    """

    status: Annotated[TaskStatus, AfterValidator(_replayable)] = TaskStatus.FAILED
    type: str | None = None
    queue: Priority | None = None
    error: Storable | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=REPLAY_LIMIT)] = 100
    rate: Annotated[float, Field(ge=0.1, le=REPLAY_RATE_LIMIT)] = 50.0
    reason: Storable | None = None

    def parameters(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "type": self.type,
            "queue": self.queue,
            "error": self.error,
            "reason": self.reason,
            "since": FIRST_ID if self.since is None else id_floor(self.since),
            "until": LAST_ID if self.until is None else id_floor(self.until),
            "limit": self.limit,
            "rate": self.rate,
        }

    def asked(self) -> dict[str, Any]:
        """条件，进审计；没给的不写。"""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """选定的任务：``shown`` 是（任务号，投递号）。人工重来必换投递号，所以它指的就是看到的那一次失败。"""

    replay: Replay
    shown: tuple[tuple[UUID, int], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """试运行：符合条件的有 ``matching`` 个，会重放其中最老的 ``total`` 个。

    ``matched`` 是前几个；``limited`` 即被 ``limit`` 截住，``complete`` 为假即没有找完：后面也许还有。
    """

    total: int
    limited: bool
    complete: bool
    matching: int
    matched: list[dict[str, Any]]
    selection: Selection = field(repr=False)


@dataclass(frozen=True, slots=True)
class Replayed:
    """真做的结果：重放了哪些，最后一个何时到期；``skipped`` 个选定的没有重放：已不是选定时的样子，或正被别人锁着。"""

    task_ids: list[UUID]
    last_due: datetime | None
    skipped: int


async def preview(
    connection: Connection, replay: Replay, most: int = REPLAY_LIMIT, looking: float = LOOKING
) -> Preview:
    """会选中谁，符合条件的数到 ``most + 1`` 为止，至多找 ``looking`` 秒；什么也不改。"""
    rows, complete = await _candidates(connection, replay, most, looking)
    chosen = rows[: replay.limit]
    return Preview(
        total=len(chosen),
        limited=len(rows) > replay.limit,
        complete=complete,
        matching=len(rows),
        matched=[
            {"task_id": row.id, "type": row.type, "last_error": row.last_error, "finished_at": row.finished_at}
            for row in chosen[:PREVIEW_LIMIT]
        ],
        selection=_selection(replay, chosen),
    )


async def run(connection: Connection, replay: Replay, actor: str, after_commit: AfterCommit = at_once) -> Replayed:
    """重放此刻符合条件的。"""
    rows, _ = await _candidates(connection, replay, replay.limit, math.inf)
    return await run_selection(connection, _selection(replay, rows[: replay.limit]), actor, after_commit=after_commit)


async def run_selection(
    connection: Connection, selection: Selection, actor: str, ahead: int = 0, after_commit: AfterCommit = at_once
) -> Replayed:
    """重放选定的：后来才失败的、重来过又失败的都不算。

    Args:
        connection: 连接，一条语句。
        selection: 选定的。
        actor: 谁。
        ahead: 前面几批已重放的个数，限速接着它们错开。
        after_commit: 在事务中的给出，回滚了就没有那行日志。

    Raises:
        GateClosedError: 历史还没有核对完。
    """
    await gate.ensure_open(connection)
    replay = selection.replay
    replayed, last_due = await _revive(connection, selection, actor, {"replay": True}, ahead)
    skipped = len(selection.shown) - len(replayed)
    after_commit(
        lambda: log.info(
            "按条件重放", actor=actor, count=len(replayed), skipped=skipped, status=replay.status, task_type=replay.type
        )
    )
    return Replayed(replayed, last_due, skipped)


async def one(connection: Connection, task_id: UUID, status: TaskStatus, delivery: int, actor: str) -> bool:
    """重来点名的一个，它须仍是看到的样子；正被别的事务锁着的不算。"""
    selection = Selection(Replay(status), ((task_id, delivery),))
    revived, _ = await _revive(connection, selection, actor, {})
    return bool(revived)


async def _revive(
    connection: Connection, selection: Selection, actor: str, detail: dict[str, Any], ahead: int = 0
) -> tuple[list[UUID], datetime | None]:
    parameters = {
        **selection.replay.parameters(),
        "actor": actor,
        "ahead": ahead,
        "task_ids": [task_id for task_id, _ in selection.shown],
        "deliveries": [delivery for _, delivery in selection.shown],
        "detail": Jsonb(detail),
    }
    return await _replay(connection, parameters)


def parts(selection: Selection) -> Iterator[Selection]:
    """分成一条语句做得完的几批，次序不变。"""
    for at in range(0, len(selection.shown), REPLAY_LIMIT):
        yield Selection(selection.replay, selection.shown[at : at + REPLAY_LIMIT])


async def _candidates(
    connection: Connection, replay: Replay, most: int, looking: float
) -> tuple[list[Candidate], bool]:
    """条件会选中谁，只看不动：一段一段地找，找够 ``most + 1`` 个、到头或到时候为止；找完了没有。"""
    clock = asyncio.get_running_loop().time
    until, after, rows = clock() + looking, FIRST_ID, list[Candidate]()
    filtered = replay.queue is not None or replay.error is not None or replay.reason is not None
    while True:
        started = clock()
        room = most + 1 - len(rows)
        scan = STEP if filtered else room
        given = {**replay.parameters(), "after": after, "scan": scan, "limit": room}
        async with connection.cursor(row_factory=dict_row) as cursor:
            # 不用预备语句：部分索引要看得见 status 的值
            await cursor.execute(load(PACKAGE, "replay_preview"), given, prepare=False)
            found = await cursor.fetchall()
        seen, after = found[0].pop("seen"), found[0].pop("reached")
        rows += [
            Candidate(row["id"], row["delivery"], row["type"], row["last_error"], row["finished_at"])
            for row in found
            if row["id"] is not None
        ]
        if seen < scan or len(rows) > most:
            return rows, True
        if 2 * clock() - started >= until:  # 下一段也许一样久：来不及了
            return rows, False


def _selection(replay: Replay, rows: Sequence[Candidate]) -> Selection:
    return Selection(replay, tuple((row.id, row.delivery) for row in rows))


@dataclass(frozen=True, slots=True)
class Candidate:
    """重放的条件选中的一个任务；``delivery`` 说的是哪一次失败。"""

    id: UUID
    delivery: int
    type: str
    last_error: dict[str, Any] | None
    finished_at: datetime | None


async def _replay(connection: Connection, parameters: dict[str, Any]) -> tuple[list[UUID], datetime | None]:
    """重放选定的；返回真的重放了哪些，与最后一个的到期时间。"""
    # 不用预备语句：规划器要看得见选定了几个
    cursor = await connection.execute(load(PACKAGE, "replay"), parameters, prepare=False)
    row = await cursor.fetchone()
    return ([], None) if row is None else (row[0], row[1])
