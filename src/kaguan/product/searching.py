"""一个搜索框找任务：表里显示的任务号（整个、开头、结尾、开头…结尾）、请求号、有序键，收件人与卡的号码的一段。

有索引可走的（任务号的开头、整个的请求号与键）再老也找得到；别的往回看一段，没看到头的说出来，可以接着找。
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from string import hexdigits
from typing import Any
from uuid import UUID

from kaguan.database.pool import Connection
from kaguan.outbox.operate.listing import TaskFilter, TaskPage, task_page
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import LAST_ID
from kaguan.sims import history, search
from kaguan.words.errors import DomainError

SHORTEST = 3  # 字
NAME_LENGTH = 128  # 请求号、有序键至多这么长
PREFIX, SUFFIX = 8, (4, 12)  # 任务号：开头至少几位，结尾几到几位
UUID_DIGITS = 32  # 位
NUMBER = 6  # 位：号码至少给这么多，才去找是哪些卡
CARDS = 20  # 张：对得上的更多，就不算认得是哪张


async def find(
    connection: Connection,
    where: TaskFilter,
    text: str,
    limit: int,
    types: Sequence[TaskType[Any]],
    *,
    personal: bool = True,
) -> TaskPage:
    """找到的一页。``types`` 的载荷里认得出人的几处也找；``personal`` 为假的只认号与整个的键，免得一段一段地试出来。"""
    sought = text.strip().lower()
    for narrowed in _by_index(where, text.strip(), sought):
        page = await task_page(connection, narrowed, limit)
        if page.rows or page.older is not None:
            return page
    suffix = sought.rpartition("…")[2] if is_suffix(sought.rpartition("…")[2]) else None
    where = replace(where, suffix=suffix)
    if not personal or len(sought) < SHORTEST:
        return TaskPage([], None, partial=False) if suffix is None else await task_page(connection, where, limit)
    if suffix is not None and (page := await task_page(connection, where, limit)).rows:
        return page
    iccids, noted = await _of_cards(connection, sought, limit) if types else ([], [])
    parts = (sought, *(iccid for iccid in iccids if sought not in iccid))
    page = await task_page(connection, replace(where, parts=parts, fields=_fields(types)), limit)
    if not noted or where.before != LAST_ID:
        return page
    own = (await task_page(connection, replace(where, suffix=None, ids=tuple(noted)), limit)).rows
    known = {row.id for row in own}
    return replace(page, rows=own + [row for row in page.rows if row.id not in known])


def _fields(types: Sequence[TaskType[Any]]) -> tuple[str, ...]:
    """载荷里认得出人的几处：摘要里是文字的。"""
    paths = (path for one in types for path in one.summary if not one.is_open(path))
    return tuple(dict.fromkeys(path.partition(".")[0] for path in paths))


def _by_index(where: TaskFilter, text: str, sought: str) -> Iterator[TaskFilter]:
    head, mark, tail = sought.replace("...", "…").partition("…")
    if (ids := _range_of(head)) is not None and (not mark or is_suffix(tail)):
        first, last = ids
        since, before = max(where.since, first), min(where.before, UUID(int=min(last + 1, LAST_ID.int)))
        if since < before:
            yield replace(where, since=since, before=before, suffix=tail or None)
    elif text.isascii() and text.isprintable() and " " not in text and 0 < len(text) <= NAME_LENGTH:
        if where.request_id is None:
            yield replace(where, request_id=text)
        if where.ordering_key is None:
            yield replace(where, ordering_key=text)


def is_suffix(text: str) -> bool:
    """任务号的末尾。"""
    low, high = SUFFIX
    return low <= len(text) <= high and set(text) <= set(hexdigits)


def _range_of(head: str) -> tuple[UUID, int] | None:
    """以 ``head`` 开头的任务号从哪里到哪里；它们都以零开头（UUIDv7 的时刻），不像就不是。"""
    digits = head.replace("-", "")
    if not (PREFIX <= len(digits) <= UUID_DIGITS and digits[0] == "0" and set(digits) <= set(hexdigits)):
        return None
    first = UUID(digits.ljust(UUID_DIGITS, "0"))
    if "-" in head and not str(first).startswith(head):
        return None
    return first, int(digits.ljust(UUID_DIGITS, "f"), 16)


async def _of_cards(connection: Connection, sought: str, limit: int) -> tuple[list[str], list[UUID]]:
    """号码（MSISDN、IMSI……）以这一段开头或结尾的卡：它们的 ICCID，与只为它们做的任务。"""
    digits = sought.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and NUMBER <= len(digits) <= search.DIGITS_MAX):
        return [], []
    try:
        ids = (await search.find(connection, [digits])).ids
    except DomainError:  # 对得上的太多
        return [], []
    return await history.noted(connection, ids, limit) if 0 < len(ids) <= CARDS else ([], [])
