"""观测每条语句：慢查询日志与 SQL 跨度。只记语句文本，从不记参数。"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import ClassVar, Self, cast

import psycopg
from opentelemetry import trace
from opentelemetry.util.types import AttributeValue
from psycopg import sql
from psycopg.abc import Params, Query, QueryNoTemplate

from kaguan.database.connecting import LimitedCursor
from kaguan.telemetry.spans import DB_COLLECTION, DB_OPERATION, DB_SYSTEM, client_span
from kaguan.words.log import get_logger

log = get_logger(__name__)
STATEMENT_LIMIT = 500
DISTINCT_STATEMENTS = 512  # 语句来自 .sql 文件与 SQLAlchemy，种类有限

# 语句的主操作与表：先找写，再找读。`for update`、`do update` 不是写
_WRITE = re.compile(
    r"\b(?P<operation>insert)\s+into\s+(?P<table>[\w.\"]+)"
    r"|\b(?P<delete>delete)\s+from\s+(?P<deleted>[\w.\"]+)"
    r"|(?<!for )(?<!do )(?<!key )\b(?P<update>update)\s+(?:only\s+)?(?P<updated>[\w.\"]+)",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"--[^\n]*")
_READ = re.compile(r"\bfrom\s+(?:only\s+)?(?P<table>tb_\w+|[\w.\"]+)", re.IGNORECASE)


class ObservedCursor(LimitedCursor):
    """给语句计时、在被采样的跨度之下开 SQL 跨度的游标。

    没被采样的只是记着、也许失败了才送（见 :mod:`kaguan.telemetry.sampling`），不值得每条语句一个跨度。
    """

    threshold: ClassVar[float] = 0.1  # 秒

    async def execute(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        with self._observed(query):
            # 父类把模板字符串另列为一个重载，实现是同一个
            return await super().execute(cast("QueryNoTemplate", query), params, prepare=prepare, binary=binary)

    async def executemany(self, query: Query, params_seq: Iterable[Params], *, returning: bool = False) -> None:
        with self._observed(query):
            await super().executemany(query, params_seq, returning=returning)

    @contextmanager
    def _observed(self, query: Query) -> Iterator[None]:
        started = time.perf_counter()
        try:
            if trace.get_current_span().get_span_context().trace_flags.sampled:
                with self._span(query):
                    yield
            else:
                yield
        finally:
            elapsed = time.perf_counter() - started
            if elapsed >= self.threshold and not self.connection.closed:  # 断了的：慢的不是语句
                log.warning("慢查询", duration_ms=round(elapsed * 1000, 1), statement=_text(query)[:STATEMENT_LIMIT])

    @contextmanager
    def _span(self, query: Query) -> Iterator[None]:
        text = _text(query)
        operation, table = summary(text)
        attributes: dict[str, AttributeValue] = {
            DB_SYSTEM: "postgresql",
            "db.namespace": self.connection.info.dbname,
            DB_OPERATION: operation,
            "db.query.text": text,
        }
        if table:
            attributes[DB_COLLECTION] = table
        with client_span(f"{operation} {table}".rstrip(), attributes) as span:
            try:
                yield
            except psycopg.Error as error:
                if error.sqlstate is not None:
                    span.set_attribute("db.response.status_code", error.sqlstate)
                raise


def observed_cursor(threshold: float) -> type[ObservedCursor]:
    """阈值（秒）固定的游标类，供连接的 ``cursor_factory`` 用。"""
    return type("ConfiguredObservedCursor", (ObservedCursor,), {"threshold": threshold})


@lru_cache(DISTINCT_STATEMENTS)
def summary(statement: str) -> tuple[str, str]:
    """语句的（操作，表）。带 CTE 的取第一个写，没有写就取第一个读到的表；认不出表给空串。"""
    if write := _WRITE.search(statement):
        operation = write["operation"] or write["delete"] or write["update"]
        return operation.upper(), (write["table"] or write["deleted"] or write["updated"]).replace('"', "")
    operation = statement.split(maxsplit=1)[0].upper() if statement else ""
    if operation not in {"SELECT", "WITH", "VALUES"}:
        return operation, ""
    tables = [match["table"].replace('"', "") for match in _READ.finditer(statement)]
    return "SELECT", next((table for table in tables if table.startswith("tb_")), tables[0] if tables else "")


def _text(query: Query) -> str:
    if isinstance(query, bytes):
        query = query.decode("utf-8", "replace")
    if isinstance(query, str):
        return _compact(query)
    return _compact(query.as_string() if isinstance(query, sql.Composable) else repr(query))


@lru_cache(DISTINCT_STATEMENTS)
def _compact(text: str) -> str:
    """去掉注释与多余空白。"""
    return " ".join(_COMMENT.sub("", text).split())
