"""已不推荐的参数：照收，文档里标明，应答里用 ``Deprecation``（RFC 9745）告诉用了它的人。"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

# 字段的 ``json_schema_extra``；pydantic 自己的 ``deprecated`` 连读一下都要告警
DEPRECATED: dict[str, Any] = {"deprecated": True}
HEADER = "Deprecation"
SINCE = datetime(2026, 11, 26, tzinfo=UTC)
HEADERS = {HEADER: f"@{int(SINCE.timestamp())}", "Link": '</docs>; rel="deprecation"; type="text/html"'}


def deprecated_names(query: type[BaseModel] | None) -> frozenset[str]:
    """``query`` 里已不推荐的参数。"""
    if query is None:
        return frozenset()
    return frozenset(
        name
        for name, field in query.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("deprecated")
    )


def notice(query: BaseModel | None) -> Mapping[str, str]:
    """用了已不推荐的参数，就给这些响应头。"""
    used = query is not None and query.model_fields_set & deprecated_names(type(query))
    return HEADERS if used else {}
