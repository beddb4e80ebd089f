"""列表的分页：键集游标、页码，以及有上限的总数。大表上从不数全表。"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from sqlalchemy import Executable, Select, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ClauseElement

from kaguan.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection
    from sqlalchemy.orm import InstrumentedAttribute
    from sqlalchemy.sql.compiler import SQLCompiler

# 页码只翻这么多行：更深处每页都要跳过前面全部行，请用游标
OFFSET_MAX = 10_000
# 数到这么多行为止，再多就用统计信息估计
EXACT_COUNT_MAX = 10_000
BIGINT_MAX = 2**63 - 1
_CURSOR_PREFIX = b"i:"

R = TypeVar("R")
# 一组任意的列：各 store 用它标注自己的列清单
Columns: TypeAlias = "tuple[InstrumentedAttribute[Any], ...]"
Query: TypeAlias = "Select[*tuple[Any, ...]]"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """要哪一页：``after`` 是上一页最后一行的 id（来自游标），给了它就不看 ``page``。"""

    page: int = 1
    page_size: int = 20
    after: int | None = None

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


def encode_cursor(last_id: int) -> str:
    return base64.urlsafe_b64encode(_CURSOR_PREFIX + str(last_id).encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> int:
    """游标里的 id。

    Raises:
        DomainError: 1001，不是本服务发出的游标。
    """
    refusal = invalid("cursor", "不是有效的游标", "not a valid cursor")
    try:
        decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):
        raise refusal from None
    digits = decoded.removeprefix(_CURSOR_PREFIX)
    if digits == decoded or not digits.isdigit() or not 1 <= len(digits) <= len(str(BIGINT_MAX)):
        raise refusal
    last_id = int(digits)
    # 只认自己的写法：同一处只有一个游标
    if not 1 <= last_id <= BIGINT_MAX or encode_cursor(last_id) != cursor:
        raise refusal
    return last_id


def page_request(page: int, page_size: int, cursor: str | None) -> PageRequest:
    """把查询参数变成页请求。

    Raises:
        DomainError: 1001，页码太深、页码与游标并用、游标无效。
    """
    if cursor is not None:
        if page != 1:
            raise invalid("page", "page 与 cursor 只能给一个", "give either page or cursor, not both")
        return PageRequest(1, page_size, decode_cursor(cursor))
    if page * page_size > OFFSET_MAX:
        raise invalid(
            "page",
            f"页码太深：page × page_size 不得超过 {OFFSET_MAX}，请改用 cursor",
            f"too deep: page × page_size must not exceed {OFFSET_MAX}; use cursor",
        )
    return PageRequest(page, page_size)


def page_statement(
    statement: Query, key: InstrumentedAttribute[int], where: Sequence[ColumnElement[bool]], request: PageRequest
) -> Query:
    """新的在前；多取一行，以便知道还有没有下一页。"""
    statement = statement.where(*where).order_by(key.desc()).limit(request.page_size + 1)
    if request.after is not None:
        return statement.where(key < request.after)
    return statement.offset(request.offset) if request.offset else statement


def count_statement(key: InstrumentedAttribute[int], where: Sequence[ColumnElement[bool]]) -> Select[int]:
    """数到上限为止。子查询带上次序，让规划器走索引而不是扫表。"""
    capped = select(key).where(*where).order_by(key.desc()).limit(EXACT_COUNT_MAX + 1).subquery()
    return select(func.count()).select_from(capped)


async def fetch_page(
    connection: AsyncConnection,
    statement: Query,
    key: InstrumentedAttribute[int],
    where: Sequence[ColumnElement[bool]],
    request: PageRequest,
    shape: Callable[[Sequence[Any]], R],
) -> Page[R]:
    """取一页；``statement`` 的第一列必须是 ``key``，每行各列交给 ``shape``。"""
    found = await connection.execute(page_statement(statement, key, where, request))
    rows = found.all()
    kept = rows[: request.page_size]
    total, estimated = await _total(connection, key, where)
    return Page(
        items=[shape(row) for row in kept],
        total=total,
        total_estimated=estimated,
        next_cursor=encode_cursor(kept[-1][0]) if len(rows) > len(kept) else None,
    )


async def _total(
    connection: AsyncConnection, key: InstrumentedAttribute[int], where: Sequence[ColumnElement[bool]]
) -> tuple[int, bool]:
    counted = await connection.scalar(count_statement(key, where))
    if counted is None or counted <= EXACT_COUNT_MAX:
        return counted or 0, False
    plan = await connection.scalar(Explain(select(key).where(*where)))
    estimate = int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])
    return max(estimate, EXACT_COUNT_MAX + 1), True


class Explain(Executable, ClauseElement):
    """``EXPLAIN (FORMAT JSON)`` 一条查询：只规划，不执行。"""

    inherit_cache = False

    def __init__(self, statement: Query) -> None:
        self.statement = statement


@compiles(Explain)
def _compile_explain(element: Explain, compiler: SQLCompiler, **options: object) -> str:
    return "EXPLAIN (FORMAT JSON) " + compiler.process(element.statement, **options)
