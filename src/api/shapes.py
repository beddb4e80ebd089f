"""HTTP 模型的基类与常用字段。"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from api.reasons import reason

BIGINT_MAX = 2**63 - 1
MAX_PAGE = 1_000_000
MAX_PAGE_SIZE = 100
DECIMAL = re.compile(r"-?[0-9]{1,19}")


class RequestModel(BaseModel):
    """请求体：严格类型，未知字段是错误。"""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class QueryModel(BaseModel):
    """查询参数：值都是文本，由字段自己转换；未知参数是错误。"""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """应答里的 ``data``。"""

    model_config = ConfigDict(frozen=True, from_attributes=True)


def _decimal(value: object) -> object:
    """只认 ASCII 十进制整数：``1_000``、``1.0``、全角数字都不算。"""
    if isinstance(value, str):
        if DECIMAL.fullmatch(value) is None:
            raise reason("应为整数", "must be an integer")
        return int(value)
    return value


QueryInt = Annotated[int, BeforeValidator(_decimal, json_schema_input_type=int)]
# 转换在前，文档看不见其后的范围，所以另写一遍
Page = Annotated[QueryInt, Field(ge=1, le=MAX_PAGE, json_schema_extra={"minimum": 1, "maximum": MAX_PAGE})]
PageSize = Annotated[
    QueryInt, Field(ge=1, le=MAX_PAGE_SIZE, json_schema_extra={"minimum": 1, "maximum": MAX_PAGE_SIZE})
]
BigId = Annotated[int, Field(ge=1, le=BIGINT_MAX)]
QueryId = Annotated[QueryInt, Field(ge=1, le=BIGINT_MAX, json_schema_extra={"minimum": 1, "maximum": BIGINT_MAX})]
