"""有人知道了：一件事带着期限与原因收起来，不再给页面与判断上色，仍列着；到时、更重了，自己再说。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.outbox.operate.lasting import refuse_unclear, seconds_left
from kaguan.verdict.memory import PACKAGE
from kaguan.verdict.model import Acknowledgement, Concern, ConcernCode, Level
from kaguan.words.personal import masked

MOST = 100  # 件
# 一个个要人办的：又多了一个，就是更重了
COUNTED = frozenset({ConcernCode.UNCERTAIN, ConcernCode.PARKED, ConcernCode.VANISHED})


@dataclass(frozen=True, slots=True)
class Acknowledging:
    """收起什么、到何时、为什么。

    Raises:
        ValueError: 没有原因，时刻不带时区，没有期限或太久。
    """

    code: ConcernCode
    subject: str
    reason: str
    until: datetime | timedelta

    def __post_init__(self) -> None:
        refuse_unclear(self.code, self.reason, self.until)

    def of(self, concerns: Iterable[Concern]) -> Concern | None:
        """说的是眼下的哪一件；只是说一声的不算。``/health`` 里给的是遮住的，也认。"""
        alike = (one for one in concerns if one.code is self.code and one.level is not Level.OK)
        return next((one for one in alike if self.subject in {one.subject, masked(one.subject)}), None)


async def acknowledge(
    connection: Connection, wanted: Acknowledging, concern: Concern, actor: str
) -> Acknowledgement | None:
    """收起 ``concern``；已收起的换成这一次的。已有一百件就给 None。"""
    asked = {
        "code": concern.code,
        "subject": concern.subject,
        "level": concern.level,
        "most": concern.parameters["count"] if concern.code in COUNTED else None,
        "reason": wanted.reason.strip(),
        "actor": actor,
        "until": wanted.until if isinstance(wanted.until, datetime) else None,
        "seconds": seconds_left(wanted.until),
        "limit": MOST,
    }
    return await _one(connection, "acknowledge", asked)


async def remind(connection: Connection, acknowledgement: UUID) -> Acknowledgement | None:
    """提前再说；没有这一件、已到时的给 None。"""
    return await _one(connection, "remind", {"id": acknowledgement})


async def acknowledged(connection: Connection) -> list[Acknowledgement]:
    """还收着的，先收的在前。"""
    async with connection.cursor(row_factory=class_row(Acknowledgement)) as cursor:
        await cursor.execute(load(PACKAGE, "acknowledged"))
        return await cursor.fetchall()


def folded(concerns: Iterable[Concern], known: Sequence[Acknowledgement]) -> list[Concern]:
    """收起来的带上是谁收的；根由收起来了，不比它重的后果跟着收起。"""
    own = {f"{one.code}:{one.subject}": one for one in known}
    return [replace(one, acknowledged=_covering(one, own)) for one in concerns]


def _covering(concern: Concern, own: Mapping[str, Acknowledgement]) -> Acknowledgement | None:
    if concern.level is Level.OK:
        return None
    found = own.get(concern.identity) or own.get(concern.because)
    if found is None or (concern.level is Level.BAD and found.level != Level.BAD):
        return None
    count = concern.parameters.get("count")
    if found.most is not None and isinstance(count, int) and count > found.most:
        return None
    return found


async def _one(connection: Connection, name: str, asked: Mapping[str, object]) -> Acknowledgement | None:
    async with connection.cursor(row_factory=class_row(Acknowledgement)) as cursor:
        await cursor.execute(load(PACKAGE, name), asked)
        return await cursor.fetchone()
