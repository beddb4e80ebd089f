"""部分修改的请求体：至少给一个字段；没给的不动，给了的不许是 null（除非字段自己允许）。"""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from api.endpoints.reasons import reason
from api.endpoints.shapes import RequestModel

T = TypeVar("T")


def _refuse_null(value: object) -> object:
    if value is None:
        raise reason("不得为 null", "must not be null")
    return value


def _without_null(schema: dict[str, Any]) -> None:
    """文档里的类型与默认值都不含 null。"""
    schema.pop("default", None)
    for alternative in schema.pop("anyOf", []):
        if alternative != {"type": "null"}:
            schema.update(alternative)


# 可以不给、但给了就不许是 null 的字段
Optional = Annotated[T | None, BeforeValidator(_refuse_null), Field(json_schema_extra=_without_null)]


class PatchModel(RequestModel):
    """至少给一个字段。"""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.model_fields_set:
            raise reason("至少给一个字段", "give at least one field")
        return self
