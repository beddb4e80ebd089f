"""把 pydantic 的错误说成中英文的人话，字段写成 ``to[0]``、``user.email``。"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from kaguan.words.errors import FieldError
from kaguan.words.reasons import Reason

MAX_REPORTED = 100
BEYOND_64_BITS = 2.0**63

# 几种错说的是同一句
NOT_INTEGER = ("应为整数", "must be an integer")
NOT_OBJECT = ("应为对象", "must be an object")
NOT_UUID = ("应为 UUID", "must be a UUID")
NOT_DATE = ("应为日期 YYYY-MM-DD", "must be a date YYYY-MM-DD")
NOT_MOMENT = ("应为 RFC 3339 时间", "must be an RFC 3339 time")
NULL_PREVIEW = ("preview 不能是 null", "preview must not be null")

_REASONS: Mapping[str, tuple[str, str]] = {
    "missing": ("必填", "required"),
    "extra_forbidden": ("未知字段", "unknown field"),
    "string_type": ("应为字符串", "must be a string"),
    "string_too_short": ("至少 {min_length} 个字符", "at least {min_length} characters"),
    "string_too_long": ("至多 {max_length} 个字符", "at most {max_length} characters"),
    "string_pattern_mismatch": ("格式不符：{pattern}", "must match {pattern}"),
    "string_unicode": ("不是合法的 Unicode", "must be valid Unicode"),
    "int_type": NOT_INTEGER,
    "int_parsing": NOT_INTEGER,
    "int_parsing_size": ("整数过大", "integer too large"),
    "int_from_float": NOT_INTEGER,
    "float_type": ("应为数字", "must be a number"),
    "bool_type": ("应为 true 或 false", "must be true or false"),
    "bool_parsing": ("应为 true 或 false", "must be true or false"),
    "greater_than": ("应 > {gt}", "must be > {gt}"),
    "greater_than_equal": ("应 ≥ {ge}", "must be >= {ge}"),
    "less_than": ("应 < {lt}", "must be < {lt}"),
    "less_than_equal": ("应 ≤ {le}", "must be <= {le}"),
    "enum": ("允许 {expected}", "must be {expected}"),
    "literal_error": ("允许 {expected}", "must be {expected}"),
    "list_type": ("应为数组", "must be an array"),
    "tuple_type": ("应为数组", "must be an array"),
    "dict_type": NOT_OBJECT,
    "model_type": NOT_OBJECT,
    "model_attributes_type": NOT_OBJECT,
    "too_short": ("至少 {min_length} 项", "at least {min_length} items"),
    "too_long": ("至多 {max_length} 项", "at most {max_length} items"),
    "uuid_parsing": NOT_UUID,
    "uuid_type": NOT_UUID,
    "date_from_datetime_parsing": NOT_DATE,
    "date_from_datetime_inexact": NOT_DATE,
    "date_parsing": NOT_DATE,
    "date_type": NOT_DATE,
    "datetime_parsing": NOT_MOMENT,
    "datetime_from_date_parsing": NOT_MOMENT,
    "datetime_type": NOT_MOMENT,
    "timezone_aware": ("须带时区", "must have a time zone"),
    "union_tag_not_found": ("缺少类型", "the type is missing"),
    "union_tag_invalid": ("允许 {expected_tags}", "must be one of {expected_tags}"),
}
_FALLBACK = ("值有误", "invalid value")


def reason(zh: str, en: str) -> PydanticCustomError:
    """在模型的校验器里抛出它：两种语言都带上。"""
    return PydanticCustomError("reason", "{en}", {"zh": zh, "en": en})


def refused(why: Reason) -> PydanticCustomError:
    """同 :func:`reason`：领域说得出的。"""
    return reason(why.text("zh"), why.text("en"))


def worded(error: ValueError) -> PydanticCustomError:
    """同 :func:`reason`：发件箱的库说的，英文与中文之间隔着「 / 」。"""
    en, _, zh = str(error).partition(" / ")
    return reason(zh, en)


def field_errors(error: ValidationError, most: int = MAX_REPORTED, skip: int = 0) -> tuple[FieldError, ...]:
    """全部出错字段，至多 ``most`` 个；从不带上输入值。``skip`` 去掉路径开头的几段。"""
    items = error.errors(include_url=False)[:most]
    return tuple(FieldError(_path((*item["loc"][skip:], *_discriminator(item))), *_reason(item)) for item in items)


def _discriminator(item: ErrorDetails) -> tuple[str, ...]:
    """类型标签本身的错：pydantic 只指到整个对象。"""
    return (item["ctx"]["discriminator"].strip("'"),) if item["type"].startswith("union_tag_") else ()


def _reason(item: ErrorDetails) -> tuple[str, str]:
    context = item.get("ctx", {})
    if item["type"] == "reason":
        return context["zh"], context["en"]
    kind = "int_parsing_size" if item["type"] == "int_type" and _is_huge(item["input"]) else item["type"]
    zh, en = _REASONS.get(kind, _FALLBACK)
    return zh.format(**context), en.format(**context)


def _is_huge(given: object) -> bool:
    """64 位装不下的整数，JSON 解析器读成了浮点。"""
    return isinstance(given, float) and abs(given) >= BEYOND_64_BITS


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            # 键名来自用户：截短，并去掉写不进应答的字符
            name = part[:100].encode("utf-8", "replace").decode()
            path += f".{name}" if path else name
    return path or "body"
