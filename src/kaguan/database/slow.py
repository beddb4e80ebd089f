"""慢查询日志：超过阈值的语句记一行，只记语句文本，从不记参数（T031、T079）。"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
from psycopg import AsyncCursor, sql

if TYPE_CHECKING:
    from psycopg.abc import Params, Query

log = structlog.get_logger(__name__)
STATEMENT_LIMIT = 500


class SlowQueryCursor(AsyncCursor[Any]):
    """给 ``execute`` 计时的游标。"""

    threshold: ClassVar[float] = 0.1  # 秒

    async def execute(self, query: Query, params: Params | None = None, **options: Any) -> SlowQueryCursor:
        started = time.perf_counter()
        try:
            await super().execute(query, params, **options)
        finally:
            elapsed = time.perf_counter() - started
            if elapsed >= self.threshold:
                log.warning("慢查询", duration_ms=round(elapsed * 1000, 1), statement=_text(query))
        return self


def slow_query_cursor(threshold: float) -> type[SlowQueryCursor]:
    """阈值（秒）固定的游标类，供连接的 ``cursor_factory`` 用。"""
    return type("ConfiguredSlowQueryCursor", (SlowQueryCursor,), {"threshold": threshold})


def _text(query: Query) -> str:
    if isinstance(query, bytes):
        query = query.decode("utf-8", "replace")
    text = query if isinstance(query, str) else query.as_string() if isinstance(query, sql.Composable) else repr(query)
    return " ".join(text.split())[:STATEMENT_LIMIT]
