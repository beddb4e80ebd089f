"""任务列表：API、控制台、命令行看的是同一种页；条件再稀罕，一页的代价也有上限。"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from kaguan.database.connecting import Connection
from kaguan.database.sql import load
from kaguan.outbox.operate.record import PACKAGE, TaskRecord
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.words.units import KIB

DEAD = (TaskStatus.FAILED, TaskStatus.UNCERTAIN)  # 另有按类型的索引
NOT_DONE = (*DEAD, TaskStatus.CANCELLED)
PAGE_SCAN = 4_000  # 没有索引的条件至多在这么多行里找：一行至多一块，连同索引的不过五千块
WAITING_SCAN = 2_000  # 在等的：一行两块，另有一张小表要看
LOOKING = 1.0  # 秒：试运行一段一段地找，至多找这么久，没找完的说出来
CONTENT_SCAN = 2_000  # 要看载荷的：它可以很大
LARGEST = 64 * KIB  # 字节（库里的大小）：更大的载荷不在里面找一段字


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """列表条件；``since``（含）与 ``before``（不含）是 UUIDv7 边界。

    ``caller`` 是提交者；``error`` 是最近错误的原因（中文的说法）里的一段字，或其中任一个代号；
    ``containing`` 是载荷里有的，有其中一样就算；``scheduled`` 是定在以后的，等着的里只要、或不要它们。
    ``ids`` 是其中之一；``suffix`` 是任务号的末尾，``parts`` 是请求号、有序键、载荷的 ``fields`` 里的一段，对上一样就算
    （都是小写）。
    """

    since: UUID
    before: UUID
    type: str | None = None
    statuses: tuple[TaskStatus, ...] = ()
    queue: str | None = None
    request_id: str | None = None
    ordering_key: str | None = None
    caller: str | None = None
    error: str | None = None
    containing: tuple[dict[str, Any], ...] = ()
    scheduled: bool | None = None
    ids: tuple[UUID, ...] | None = None
    suffix: str | None = None
    parts: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskPage:
    """一页任务。``older`` 是往前一页的游标；``partial`` 表示这一页没看到头就到了扫描上限。"""

    rows: list[TaskRecord]
    older: UUID | None
    partial: bool


async def task_page(connection: Connection, where: TaskFilter, limit: int) -> TaskPage:
    """按受理时间倒序的一页。几种状态的，各看各的索引再合起来；哪一种没看到的地方，都不算看到。"""
    pages = await _pages(connection, where, limit)
    if len(pages) == 1:
        return pages[0]
    reached = max((page.older for page in pages if page.older is not None), default=None)
    rows = sorted((row for page in pages for row in page.rows), key=lambda row: row.id, reverse=True)
    seen = [row for row in rows if reached is None or row.id >= reached]
    if len(seen) > limit:
        return TaskPage(seen[:limit], seen[limit - 1].id, partial=False)
    partial = any(page.partial for page in pages if page.older == reached)
    return TaskPage(seen, reached, partial=reached is not None and partial)


async def _pages(connection: Connection, where: TaskFilter, limit: int) -> list[TaskPage]:
    """每种状态（或不管状态）一页，同一条语句：分几次看，正从一种走到另一种的会哪一次也没看见。"""
    text = load(PACKAGE, "list")
    each = [
        _own(where, status, limit) | {"page": page}
        for page, status in enumerate(dict.fromkeys(where.statuses) or [None])
    ]
    copies = [text.replace("%(own_", f"%({own['page']}_") for own in each]
    parameters = {
        "before": where.before, "since": where.since, "request_id": where.request_id,
        "ordering_key": where.ordering_key, "type": where.type, "queue": where.queue, "caller": where.caller,
        "error": where.error, "containing": [Jsonb(one) for one in where.containing] or None,
        "scheduled": where.scheduled, "ids": None if where.ids is None else list(where.ids), "suffix": where.suffix,
        "parts": list(where.parts) or None, "fields": list(where.fields), "largest": LARGEST, "limit": limit + 1,
        **{f"{own['page']}_{name}": value for own in each for name, value in own.items()},
    }  # fmt: skip
    async with connection.cursor(row_factory=dict_row) as cursor:
        # 不用预备语句：规划器要看得见哪些条件给了值
        await cursor.execute("\nunion all\n".join(f"({copy})" for copy in copies), parameters, prepare=False)
        found = await cursor.fetchall()
    return [_page([row for row in found if row["page"] == own["page"]], limit, own["scan"]) for own in each]


def _own(where: TaskFilter, status: TaskStatus | None, limit: int) -> dict[str, Any]:
    """一种状态自己的参数；哪些条件有索引可用在这里决定。"""
    # 成功的太多，索引不收；在等的在发件箱里、排在同键之后，在手里的另有一张小表
    found_by_name = bool(where.request_id or where.ordering_key or where.ids is not None)
    by_waiting = status in {TaskStatus.PENDING, TaskStatus.RETRYING} and not found_by_name
    by_work = status in {TaskStatus.QUEUED, TaskStatus.RUNNING} and not found_by_name
    by_status = status if status in NOT_DONE else None
    by_type = None if by_waiting or by_work or (by_status and by_status not in DEAD) else where.type
    filtered = bool(
        (where.queue and not by_work)
        or (status and not by_status and not by_work)
        or (where.type and not by_type)
        or where.caller
        or where.error
        or where.scheduled is not None
        or where.suffix
        or where.parts
    )
    most = WAITING_SCAN if by_waiting else PAGE_SCAN
    scan = CONTENT_SCAN if where.containing or (where.parts and where.fields) else most if filtered else limit + 1
    own = {"by_status": by_status, "by_waiting": by_waiting, "by_work": by_work, "by_type": by_type}
    return {"status": status, "scan": scan, **own}


def _page(found: list[dict[str, Any]], limit: int, scan: int) -> TaskPage:
    """``found`` 至少一行；一个也没有的，那一行没有号。"""
    seen, reached = found[0]["seen"], found[0]["reached"]
    rows = [
        TaskRecord(**{name: value for name, value in row.items() if name not in {"page", "seen", "reached"}})
        for row in found
        if row["id"] is not None
    ]
    if len(rows) > limit:
        return TaskPage(rows[:limit], rows[limit - 1].id, partial=False)
    more = seen == scan
    return TaskPage(rows, reached if more else None, partial=more)


async def newest(connection: Connection, where: TaskFilter, limit: int) -> list[TaskRecord]:
    """最近的 ``limit`` 个：一段一段往回找，找够或到头为止。"""
    page = await task_page(connection, where, limit)
    rows = page.rows
    while page.older is not None and len(rows) < limit:
        page = await task_page(connection, replace(where, before=page.older), limit - len(rows))
        rows += page.rows
    return rows
