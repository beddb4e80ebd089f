"""列表只有一种翻法：``page_size`` 与 ``cursor``；实体的列表另有浅处的页码。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import Field

from api.endpoints.shapes import MAX_PAGE_SIZE, Moment, PageSize, QueryModel, View
from api.endpoints.shapes import Page as PageNumber
from kaguan.database.paging import Page, PageRequest, Sort, checked, decode_cursor
from kaguan.words.errors import invalid

DEFAULT_PAGE_SIZE = 20
CURSOR_LENGTH_MAX = 128

OF_SORT = "RFC 3339；按 `updated_at` 排的是改动的时间，别的是受理的时间"

T = TypeVar("T")
V = TypeVar("V", bound=View)
OF_CURSOR = "上一页的 `next_cursor`；不解释，原样交回"
Cursor = Annotated[str, Field(min_length=1, max_length=CURSOR_LENGTH_MAX, description=OF_CURSOR)]


class Paging(QueryModel):
    """哪个列表都有的：一页多少，从哪里接着。"""

    page_size: PageSize = DEFAULT_PAGE_SIZE
    cursor: Cursor | None = None


class ListQuery(Paging):
    """另有次序与时间段。别的条件各有索引，配的是 id：与它们并用时按受理的时间排就是按 id 排，两者一起长。"""

    sort: Sort | None = Field(
        None,
        description="次序；`-` 打头的新的在前。不给是 `-id`，给了 `since` 或 `until` 就是 `-created_at`。"
        "按 `updated_at` 的不与别的条件并用",
    )
    since: Moment | None = Field(None, description=f"时间下限（含），{OF_SORT}")
    until: Moment | None = Field(None, description=f"时间上限（不含），{OF_SORT}")
    # 没有默认值：生成的客户端会把默认值也发出来
    page: PageNumber | None = Field(None, description="页码，从 1 起，只到前一万行；再深用 `cursor`")

    def request(self) -> PageRequest:
        """要哪一页。

        Raises:
            DomainError: 1001，页码太深、与游标并用，游标无效，或条件与次序配不上。
        """
        ranged = self.since is not None or self.until is not None
        sort = self.sort or (Sort.CREATED_LAST if ranged else Sort.NEWEST)
        others = [name for name in self.model_fields_set - ListQuery.model_fields.keys() if getattr(self, name)]
        if others and sort.time == Sort.UPDATED:
            raise invalid(min(others), "不能与按改动时间的次序并用", "cannot go with a sort by time of change")
        if others:
            sort = sort.by_id
        after = None if self.cursor is None else decode_cursor(self.cursor, sort)
        return checked(PageRequest(self.page or 1, self.page_size, after, sort, self.since, self.until))


class ShortQuery(Paging):
    """至多百来项的列表：不给 ``page_size`` 就一页给全。"""

    page_size: PageSize = MAX_PAGE_SIZE


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """整份都在手里的一个列表的一页；``next_cursor`` 是末一项的键。"""

    items: Sequence[T]
    page_size: int
    next_cursor: str | None

    @classmethod
    def of(cls, query: Paging, found: Sequence[T], keys: Sequence[str]) -> Self:
        """``keys`` 与 ``found`` 一一对应。

        Raises:
            DomainError: 1001，游标不在其中。
        """
        if query.cursor is not None and query.cursor not in keys:
            raise invalid("cursor", "不是这个列表的游标", "not a cursor of this list")
        first = 0 if query.cursor is None else keys.index(query.cursor) + 1
        last = first + query.page_size
        return cls(found[first:last], query.page_size, keys[last - 1] if last < len(found) else None)


class Listing(View, Generic[V]):
    """一页；``next_cursor`` 为 null 就到头了。``total_estimated`` 为真时总数是估计值。"""

    items: list[V]
    total: int
    total_estimated: bool
    page: int | None = Field(description="页码；用游标取的没有")
    page_size: int
    next_cursor: str | None

    @classmethod
    def of(cls, query: ListQuery, page: Page[Any]) -> Self:
        return cls.model_validate(
            {
                "items": page.items,
                "total": page.total,
                "total_estimated": page.total_estimated,
                "page": (query.page or 1) if query.cursor is None else None,
                "page_size": query.page_size,
                "next_cursor": page.next_cursor,
            }
        )
