"""列表的分页：键集游标、页码、次序与时间段，以及有上限的总数。大表上从不数全表。"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, Executable, Select, any_, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement

from kaguan.database.entities import Criteria
from kaguan.database.metadata import EntityColumns
from kaguan.words.errors import DomainError, invalid

# 页码只翻这么多行：更深处每页都要跳过前面全部行，请用游标
OFFSET_MAX = 10_000
# 数到这么多行为止，再多就用统计信息估计
EXACT_COUNT_MAX = 10_000
BIGINT_MAX = 2**63 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SKEW = timedelta(hours=1)  # 比任何事务都长得多
DIGITS = len(str(BIGINT_MAX))

R = TypeVar("R")
# 一组任意的列：各 store 用它标注自己的列清单
Columns: TypeAlias = "tuple[InstrumentedAttribute[Any], ...]"
Query: TypeAlias = "Select[*tuple[Any, ...]]"


class Sort(StrEnum):
    """次序；``-`` 打头的新的在前。时间相同的按 id。"""

    NEWEST = "-id"
    OLDEST = "id"
    CREATED = "created_at"
    CREATED_LAST = "-created_at"
    UPDATED = "updated_at"
    UPDATED_LAST = "-updated_at"

    @property
    def descending(self) -> bool:
        return self.startswith("-")

    @property
    def by_id(self) -> Sort:
        """同一方向、按 id 的次序。"""
        return Sort.NEWEST if self.descending else Sort.OLDEST

    @property
    def time(self) -> str | None:
        """按哪一列时间排；只按 id 的没有。"""
        name = self.removeprefix("-")
        return None if name == "id" else name


@dataclass(frozen=True, slots=True)
class Position:
    """游标指的那一行：它的 id，按时间排的还有那个时间。"""

    id: int
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """要哪一页：``after`` 是上一页最后一行（来自游标），给了它就不看 ``page``。

    ``since``（含）、``until``（不含）是 ``sort`` 的时间；按 id 排的，是受理的时间。
    """

    page: int = 1
    page_size: int = 20
    after: Position | None = None
    sort: Sort = Sort.NEWEST
    since: datetime | None = None
    until: datetime | None = None

    @property
    def offset(self) -> int:
        return 0 if self.after is not None else (self.page - 1) * self.page_size


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """一页结果。``total_estimated`` 为真时 ``total`` 是统计信息的估计值。"""

    items: Sequence[R]
    total: int
    total_estimated: bool
    next_cursor: str | None


def encode_cursor(after: Position, sort: Sort = Sort.NEWEST) -> str:
    at = "" if after.at is None else f"{(after.at - EPOCH) // MICROSECOND}:"
    return base64.urlsafe_b64encode(f"{sort}:{at}{after.id}".encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, sort: Sort = Sort.NEWEST) -> Position:
    """游标指的那一行。

    Raises:
        DomainError: 1001，不是本服务为这种次序发出的游标。
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        raise _not_ours() from None
    prefix = f"{sort}:"
    *times, number = text.removeprefix(prefix).split(":")
    whole = text.startswith(prefix) and all(part.isdigit() and len(part) <= DIGITS for part in (*times, number))
    if not whole or len(times) != (sort.time is not None):
        raise _not_ours()
    try:
        after = Position(int(number), EPOCH + int(times[0]) * MICROSECOND if times else None)
    except OverflowError:
        raise _not_ours() from None
    # 只认自己的写法：同一处只有一个游标
    if not 1 <= after.id <= BIGINT_MAX or encode_cursor(after, sort) != cursor:
        raise _not_ours()
    return after


def _not_ours() -> DomainError:
    return invalid("cursor", "不是这个列表、这种次序的游标", "not a cursor of this list in this order")


def checked(request: PageRequest) -> PageRequest:
    """页码不太深、不与游标并用。

    Raises:
        DomainError: 1001。
    """
    if request.after is not None and request.page != 1:
        raise invalid("page", "page 与 cursor 只能给一个", "give either page or cursor, not both")
    if request.page * request.page_size > OFFSET_MAX:
        raise invalid(
            "page",
            f"页码太深：page × page_size 不得超过 {OFFSET_MAX}，请改用 cursor",
            f"too deep: page × page_size must not exceed {OFFSET_MAX}; use cursor",
        )
    return request


def page_statement(statement: Query, criteria: Criteria, request: PageRequest) -> Query:
    """照次序取；多取一行，以便知道还有没有下一页。"""
    entity, sort = criteria.entity, request.sort
    # 先只在索引里挑出这一页的 id，再到表里取：要的列都带上，规划器会嫌挑得准的索引不如沿着 id 逐行看
    picked = _picked(criteria, request, request.after).limit(request.page_size + 1)
    if request.offset:
        picked = picked.offset(request.offset)
    keys = [entity.id] if sort.time is None else [getattr(entity, sort.time), entity.id]
    return statement.where(entity.id == any_(func.array(picked.scalar_subquery()))).order_by(*_directed(keys, sort))


def _picked(
    criteria: Criteria, request: PageRequest, after: Position | None = None, *, counting: bool = False
) -> Query:
    """合条件的 id，照次序，从 ``after`` 之后起。

    列等于一个值，规划器就把它从次序里略去，于是许会沿着 id 逐行看整张表：刚导入、合起来一行也没有的，要看到底。
    写成范围、列进次序，只有以它打头的索引给得出这个次序。``counting`` 的取得多，不许它知道是什么值，免得去扫表。
    """
    entity, sort = criteria.entity, request.sort
    column, value = _leading(criteria, request) or (None, None)
    keys: list[Any] = [entity.id] if sort.time is None else [getattr(entity, sort.time), entity.id]
    where = [*criteria.where(but=column), *time_range(entity, request)]
    beyond: list[tuple[bool, tuple[Any, ...]]] = [(above, (edge,)) for above, edge in id_range(entity, request)]
    if after is not None:
        beyond.append((not sort.descending, (after.id,) if sort.time is None else (after.at, after.id)))
    if column is not None:
        same: Any = literal(value, column.type)
        same = select(same).scalar_subquery() if counting else same
        where += [column >= same, column <= same]
        keys.insert(0, column)
        beyond = [(above, (same, *edge)) for above, edge in beyond]
    for above, edge in beyond:
        here = tuple_(*keys)
        there = tuple_(*(one if isinstance(one, ClauseElement) else literal(one) for one in edge))
        where.append(here > there if above else here < there)
    return select(entity.id).where(*where).order_by(*_directed(keys, sort))


def _leading(criteria: Criteria, request: PageRequest) -> tuple[InstrumentedAttribute[Any], Any] | None:
    """沿哪一列的索引走，它须等于什么；按时间排的各有索引。"""
    return criteria.leading() if request.sort.time is None else None


def _directed(keys: Sequence[Any], sort: Sort) -> list[ColumnElement[Any]]:
    return [key.desc() if sort.descending else key.asc() for key in keys]


def time_range(entity: type[EntityColumns], request: PageRequest) -> list[ColumnElement[bool]]:
    """``since``、``until`` 管的是次序的那个时间；按 id 排的，是受理的时间。"""
    column: InstrumentedAttribute[datetime] = getattr(entity, request.sort.time or Sort.CREATED)
    where = [] if request.since is None else [column >= request.since]
    return where if request.until is None else [*where, column < request.until]


def id_range(entity: type[EntityColumns], request: PageRequest) -> list[tuple[bool, ColumnElement[int]]]:
    """按 id 排而有时间段的：把时间段换成 id 的范围（在它之上即真），别的条件的索引（都带着 id）才只走这一段。

    id 与受理的时间一起长，差不出一个事务那么久；两头各放宽 :data:`SKEW`，准的还是 :func:`time_range`。
    """
    bounds: list[tuple[bool, ColumnElement[int]]] = []
    if request.sort.time is not None:
        return bounds
    key, at = entity.id, entity.created_at
    edge = select(key).where(entity.deleted_at.is_(None)).limit(1)
    if request.since is not None:
        before = edge.where(at < literal(request.since) - SKEW).order_by(at.desc(), key.desc())
        bounds.append((True, func.coalesce(before.scalar_subquery(), 0)))
    if request.until is not None:
        past = edge.where(at >= literal(request.until) + SKEW).order_by(at, key)
        bounds.append((False, func.coalesce(past.scalar_subquery(), BIGINT_MAX)))
    return bounds


async def fetch_page(
    connection: AsyncConnection,
    statement: Query,
    criteria: Criteria,
    request: PageRequest,
    shape: Callable[[Sequence[Any]], R],
) -> Page[R]:
    """取一页；``statement`` 的列里有实体的 id 与两个时间，每行各列交给 ``shape``。"""
    kept, after = await fetch_rows(connection, statement, criteria, request)
    total, estimated = await fetch_total(connection, criteria, request)
    return Page(
        items=[shape(row) for row in kept],
        total=total,
        total_estimated=estimated,
        next_cursor=None if after is None else encode_cursor(after, request.sort),
    )


def _position(row: Any, sort: Sort) -> Position:
    return Position(row.id, None if sort.time is None else getattr(row, sort.time))


async def fetch_rows(
    connection: AsyncConnection, statement: Query, criteria: Criteria, request: PageRequest
) -> tuple[Sequence[Any], Position | None]:
    """一页的各行，与下一页从哪里接着；没有下一页就是 None。"""
    rows = (await connection.execute(page_statement(statement, criteria, request))).all()
    kept = rows[: request.page_size]
    return kept, _position(kept[-1], request.sort) if len(rows) > len(kept) else None


async def fetch_total(connection: AsyncConnection, criteria: Criteria, request: PageRequest) -> tuple[int, bool]:
    """合计多少行；数到 :data:`EXACT_COUNT_MAX` 为止，再多是估计的，第二项为真。"""
    # 沿一列走的，取多少也不许规划器知道：取得多，它就嫌照着次序走贵，把合条件的全找来再排
    most = literal(EXACT_COUNT_MAX + 1)
    limit = most if _leading(criteria, request) is None else select(most).scalar_subquery()
    capped = _picked(criteria, request, counting=True).limit(limit).subquery()
    counted = await connection.scalar(select(func.count()).select_from(capped))
    if counted is None or counted <= EXACT_COUNT_MAX:
        return counted or 0, False
    entity = criteria.entity
    plan = await connection.scalar(Explain(select(entity.id).where(*criteria.where(), *time_range(entity, request))))
    estimate = int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])
    return max(estimate, EXACT_COUNT_MAX + 1), True


class Explain(Executable, ClauseElement):
    """``EXPLAIN (FORMAT JSON)`` 一条查询：只规划，不执行。"""

    inherit_cache = False

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: SQLCompiler, **options: object) -> str:
    return "EXPLAIN (FORMAT JSON) " + compiler.process(element.statement, **options)
