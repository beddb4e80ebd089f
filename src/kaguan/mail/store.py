"""tb_email_delivery 的读写；只有 SQL，事务由调用方给。"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from kaguan.database.pool import Connection
from kaguan.database.sql import columns, load
from kaguan.mail.vocabulary import DeliveryStatus
from kaguan.words.reasons import Reason

IDENTITY = ("task_ids", "message_ids", "attempts", "dates")  # :class:`Letter` 的各栏


class Letter(NamedTuple):
    """一封信在库里的身份；``date`` 是首次尝试的时刻。"""

    task_id: UUID
    message_id: str
    attempt: int
    date: datetime


class Recorded(NamedTuple):
    recipient: str
    status: DeliveryStatus
    code: int | None
    reply: Reason


class Known(NamedTuple):
    """一封信已有的记录。

    Attributes:
        statuses: 逐收件人的现状。
        first_tried: 首次尝试的时刻；没有记录则 None。
        message_id: 首次尝试用的 Message-ID；没有记录则 None。
        lost_for: 上一次败在中继主机、而会话已开始：距今几秒；不是则 None。
    """

    statuses: dict[str, DeliveryStatus]
    first_tried: datetime | None
    message_id: str | None
    lost_for: float | None


async def recipients(connection: Connection, task_ids: Sequence[UUID]) -> list[Known]:
    """几封信已有的记录，次序与输入相同。"""
    cursor = await connection.execute(load("kaguan.mail", "recipients"), {"task_ids": list(task_ids)})
    rows: dict[UUID, list[tuple[Any, ...]]] = {task_id: [] for task_id in task_ids}
    for task_id, *row in await cursor.fetchall():
        rows[task_id].append(tuple(row))
    return [_known(rows[task_id]) for task_id in task_ids]


def _known(rows: Sequence[tuple[Any, ...]]) -> Known:
    return Known(
        {row[0]: DeliveryStatus(row[1]) for row in rows},
        min((row[2] for row in rows), default=None),
        next((row[3] for row in rows), None),
        min((row[4] for row in rows if row[4] is not None), default=None),
    )


class Intended(NamedTuple):
    """一封信就要投给谁。"""

    letter: Letter
    to: Sequence[str]


class Settled(NamedTuple):
    """一封信的各个结局。"""

    letter: Letter
    outcomes: Sequence[Recorded]


async def intend(connection: Connection, letters: Sequence[Intended]) -> list[list[str]]:
    """记几封信的意向；各返回确实该投的收件人。"""
    rows = [(*letter, recipient) for letter, to in letters for recipient in to]
    cursor = await connection.execute(load("kaguan.mail", "intend"), columns((*IDENTITY, "recipients"), rows))
    intended = set(await cursor.fetchall())
    return [[recipient for recipient in to if (letter.task_id, recipient) in intended] for letter, to in letters]


async def record(connection: Connection, letters: Sequence[Settled]) -> list[None]:
    """记几封信的结局；没有结局的不写。"""
    rows = [
        (*letter, one.recipient, one.status.value, one.code, one.reply.packed())
        for letter, outcomes in letters
        for one in outcomes
    ]
    if rows:
        names = (*IDENTITY, "recipients", "statuses", "codes", "replies")
        await connection.execute(load("kaguan.mail", "record"), columns(names, rows))
    return [None] * len(letters)
