"""tb_email_delivery 的读写；只有 SQL，事务由调用方给。"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.mail.vocabulary import DeliveryStatus
from kaguan.words.reasons import Reason


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


async def recipients(connection: Connection, task_id: UUID) -> Known:
    cursor = await connection.execute(load("kaguan.mail", "recipients"), {"task_id": task_id})
    rows = await cursor.fetchall()
    return Known(
        {row[0]: DeliveryStatus(row[1]) for row in rows},
        min((row[2] for row in rows), default=None),
        next((row[3] for row in rows), None),
        min((row[4] for row in rows if row[4] is not None), default=None),
    )


async def intend(connection: Connection, letter: Letter, to: Sequence[str]) -> list[str]:
    """记意向；返回确实该投的收件人。"""
    parameters = {**_identity(letter), "recipients": list(to)}
    cursor = await connection.execute(load("kaguan.mail", "intend"), parameters)
    intended = {row[0] for row in await cursor.fetchall()}
    return [recipient for recipient in to if recipient in intended]


async def record(connection: Connection, letter: Letter, outcomes: Sequence[Recorded]) -> None:
    """记结局。"""
    await connection.execute(
        load("kaguan.mail", "record"),
        {
            **_identity(letter),
            "recipients": [outcome.recipient for outcome in outcomes],
            "statuses": [outcome.status.value for outcome in outcomes],
            "codes": [outcome.code for outcome in outcomes],
            "replies": [outcome.reply.packed() for outcome in outcomes],
        },
    )


def _identity(letter: Letter) -> dict[str, object]:
    return {
        "task_id": letter.task_id,
        "message_id": letter.message_id,
        "attempt": letter.attempt,
        "intended_at": letter.date,
    }
