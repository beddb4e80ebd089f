"""分页列表共用的查询参数与应答形状。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar

from pydantic import Field

from api.endpoints.shapes import Page as PageNumber
from api.endpoints.shapes import PageSize, QueryModel, View
from kaguan.database.paging import PageRequest, page_request

if TYPE_CHECKING:
    from kaguan.database.paging import Page

DEFAULT_PAGE_SIZE = 20
CURSOR_LENGTH_MAX = 128

V = TypeVar("V", bound=View)


class ListQuery(QueryModel):
    """页码与游标二选一；深处只能用游标。"""

    page: PageNumber = 1
    page_size: PageSize = DEFAULT_PAGE_SIZE
    cursor: Annotated[str | None, Field(min_length=1, max_length=CURSOR_LENGTH_MAX)] = None

    def request(self) -> PageRequest:
        return page_request(self.page, self.page_size, self.cursor)


class Listing(View, Generic[V]):
    """一页，新的在前。``total_estimated`` 为真时总数是估计值；用游标取的页没有页码。"""

    items: list[V]
    total: int
    total_estimated: bool
    page: int | None
    page_size: int
    next_cursor: str | None

    @classmethod
    def of(cls, query: ListQuery, page: Page[Any]) -> Self:
        return cls.model_validate(
            {
                "items": page.items,
                "total": page.total,
                "total_estimated": page.total_estimated,
                "page": query.page if query.cursor is None else None,
                "page_size": query.page_size,
                "next_cursor": page.next_cursor,
            }
        )
