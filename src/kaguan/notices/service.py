"""任务的结局告诉提交者：通知与任务在同一个事务里受理，排在同一个有序键上，前一个有了结局（不论谁给的）才放行。

协议本来就保证这个次序，所以结算、取消、收回租约都不必知道有人在等；没有要求的任务什么也不多付。
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.notices.task import TASK_NOTIFY, NoticePayload
from kaguan.outbox.accept.acceptance import Submission

PACKAGE = "kaguan.notices"
PREFIX = "notify:"


@dataclass(frozen=True, slots=True)
class Subject:
    """通知说的那个任务此刻的样子；``at`` 是有结局的时刻，结局不明的是那次尝试开始的时刻。"""

    task_id: UUID
    type: str
    status: str
    principal: str
    request_id: str | None
    attempts: int
    error_code: str | None
    at: datetime


def with_notice(submission: Submission[Any]) -> tuple[Submission[Any], Submission[Any]]:
    """任务与跟在它后面的通知，要在一批里受理；同一个 ``request_id`` 总得到同样的一对。

    Raises:
        ValueError: 任务自己已有有序键：通知会排进那个键，挡住后面的。
    """
    if submission.ordering_key is not None:
        raise ValueError("有自己的有序键的任务不能要通知")
    own = submission.request_id
    name = uuid4().hex if own is None else hashlib.sha256(own.encode()).hexdigest()
    key = PREFIX + name
    notice = Submission(
        TASK_NOTIFY,
        NoticePayload(),
        submission.queue,
        submission.principal,
        None if own is None else key,
        ordering_key=key,
    )
    return replace(submission, ordering_key=key), notice


async def subject_of(connection: Connection, notice: UUID) -> Subject | None:
    """``notice`` 这个通知说的任务。"""
    async with connection.cursor(row_factory=class_row(Subject)) as cursor:
        await cursor.execute(load(PACKAGE, "subject"), {"notice": notice})
        return await cursor.fetchone()
