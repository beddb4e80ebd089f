"""HTTP 模型的基类与常用字段。"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api.endpoints.reasons import reason
from kaguan.database.paging import BIGINT_MAX
from kaguan.words.wrong import NOT_DATE, NOT_INTEGER, NOT_MOMENT

T = TypeVar("T")

MAX_PAGE = 1_000_000
MAX_PAGE_SIZE = 100
DECIMAL = re.compile(r"-?[0-9]{1,19}")
ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].*")
FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)


class RequestModel(BaseModel):
    """请求体：严格类型，未知字段是错误。校验的是解析好的 JSON，枚举与日期各用下面的类型，才收得下文本。"""

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
            raise reason(*NOT_INTEGER)
        return int(value)
    return value


def _dated(value: object) -> object:
    """光秃秃的数字会被当成纪元秒：不收。"""
    if not isinstance(value, str) or DATED.fullmatch(value) is None:
        raise reason(*NOT_MOMENT)
    return value


def _within_calendar(moment: datetime) -> datetime:
    """带着时区偏移会落到公元前或万年之后的，Python 与 PostgreSQL 说不到一起。"""
    if not FIRST_MOMENT <= moment <= LAST_MOMENT:
        raise reason("应在 1970 年到 9999 年之间（UTC）", "must be in the years 1970 to 9999 (UTC)")
    return moment


def _written_out(value: object) -> object:
    # pydantic 也把数字、数字串当作时间戳收下；这里只认 YYYY-MM-DD
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or ISO_DATE.fullmatch(value) is None:
        raise reason(*NOT_DATE)
    return value


# 枚举：严格模式只收枚举的成员，而 JSON 里只有文本
Choice = Annotated[T, Field(strict=False)]
Day = Annotated[date, Field(strict=False), BeforeValidator(_written_out, json_schema_input_type=date)]
Moment = Annotated[
    AwareDatetime,
    Field(strict=False),
    BeforeValidator(_dated, json_schema_input_type=datetime),
    AfterValidator(_within_calendar),
]
QueryInt = Annotated[int, BeforeValidator(_decimal, json_schema_input_type=int)]
# 转换在前，文档看不见其后的范围，所以另写一遍
Page = Annotated[QueryInt, Field(ge=1, le=MAX_PAGE, json_schema_extra={"minimum": 1, "maximum": MAX_PAGE})]
PageSize = Annotated[
    QueryInt, Field(ge=1, le=MAX_PAGE_SIZE, json_schema_extra={"minimum": 1, "maximum": MAX_PAGE_SIZE})
]
BigId = Annotated[int, Field(ge=1, le=BIGINT_MAX)]
QueryId = Annotated[QueryInt, Field(ge=1, le=BIGINT_MAX, json_schema_extra={"minimum": 1, "maximum": BIGINT_MAX})]
