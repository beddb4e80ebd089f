"""不见了的：Redis 还记得它的投递或外部调用，任务却不在 PostgreSQL 里，它丢了受理的那一笔（主备切换丢了尾巴）。

这不是重复的投递：答应过的事没有了，只有这里还说得出是哪一件；从投递知道的，还说得出是谁的请求。
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import PASSING_ERRORS, Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import id_floor
from kaguan.words.log import get_logger
from kaguan.words.units import MINUTE

log = get_logger(__name__)

PACKAGE = "kaguan.outbox.recover"
AHEAD = timedelta(days=1)  # 任务号里的钟至多快这么多；再快就不是我们发的号
MOST_AT_ONCE = 100  # 一次投递至多带这么多个；再多的不是我们交的
MOST_A_MINUTE = 1_000  # 凭 Redis 的话至多记这么多；真丢的尾巴里，在 Redis 里的没有这么多
LONGEST_REQUEST_ID = 128  # 字符，与 tb_task 相同


@dataclass(frozen=True, slots=True)
class VanishedTask:
    """tb_vanished 的一行。"""

    task_id: UUID
    type: str
    request_id: str | None
    delivery: int
    first_seen: datetime


@dataclass(frozen=True, slots=True)
class VanishedPage:
    """一页；``older`` 是往前一页的游标，没有就到头了。"""

    rows: list[VanishedTask]
    older: UUID | None


@dataclass(slots=True)
class Vanishing:
    """认领不到的里面，哪些是不见了的。``days`` 是保留期：比它老的号，任务也许是到期删去的。"""

    pool: Pool
    days: int
    _minute: float = -math.inf  # 这一分钟从何时起；time.monotonic
    _noted: int = 0  # 其间记了几个

    async def note_delivered(
        self, task_type: str, missed: Collection[tuple[UUID, int]], request_ids: Mapping[tuple[UUID, int], object]
    ) -> int:
        """凭一次投递的话：投递谁都写得出，所以一次、一分钟都有上限；返回记了几个。"""
        now = time.monotonic()
        if now - self._minute > MINUTE:
            self._minute, self._noted = now, 0
        asked = list(missed)[: max(0, min(MOST_AT_ONCE, MOST_A_MINUTE - self._noted))]
        if len(asked) < len(missed):
            log.error("认领不到的太多，多半不是我们交的投递，余下的不查", count=len(missed) - len(asked))
        noted = await self.note(task_type, asked, request_ids)
        self._noted += noted
        return noted

    async def note(
        self, task_type: str, missed: Iterable[tuple[UUID, int]], request_ids: Mapping[tuple[UUID, int], object]
    ) -> int:
        """逐个记下，返回几个；``request_ids`` 来自 Redis，不像请求号的不要。记不成只说一声。"""
        now = datetime.now(UTC)
        oldest, newest = id_floor(now - timedelta(days=self.days)), id_floor(now + AHEAD)
        asked = [token for token in missed if oldest <= token[0] < newest]
        if not asked:
            return 0
        parameters = {
            "type": task_type,
            "task_ids": [task_id for task_id, _ in asked],
            "deliveries": [delivery for _, delivery in asked],
            "request_ids": [_sane(request_ids.get(token)) for token in asked],
        }
        try:
            async with asyncio.timeout(TIMEOUT), self.pool.connection() as connection:
                cursor = await connection.execute(load(PACKAGE, "vanish"), parameters)
                found = await cursor.fetchall()
        except PASSING_ERRORS as error:
            log.warning("没能查认领不到的还在不在", count=len(asked), error=type(error).__name__)
            return 0
        for task_id, delivery, request_id in found:
            log.error(
                "任务不见了：Redis 还记得，PostgreSQL 不认得它",
                task_id=str(task_id), delivery=delivery, task_type=task_type, request_id=request_id,
            )  # fmt: skip
        return len(found)


def _sane(request_id: object) -> str | None:
    is_sane = isinstance(request_id, str) and len(request_id) <= LONGEST_REQUEST_ID and request_id.isprintable()
    return str(request_id) if is_sane else None


async def page(connection: Connection, limit: int, after: UUID | None = None) -> VanishedPage:
    """新的在前；``after`` 是上一页最后一个的任务号。"""
    async with connection.cursor(row_factory=class_row(VanishedTask)) as cursor:
        await cursor.execute(load(PACKAGE, "vanished"), {"after": after, "limit": limit + 1})
        found = await cursor.fetchall()
    rows = found[:limit]
    return VanishedPage(rows, rows[-1].task_id if len(found) > limit else None)


async def expire(connection: Connection, days: int, limit: int) -> int:
    """删去一批记了超过 ``days`` 天的；返回行数。"""
    return (await connection.execute(load(PACKAGE, "expire_vanished"), {"days": days, "limit": limit})).rowcount
