"""一处不合规矩的值，两种语言的人话：HTTP 与命令行说的是同一句。"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kaguan.words.filling import fill

if TYPE_CHECKING:  # 只装了库的没有它
    from pydantic_core import ErrorDetails

BEYOND_64_BITS = 2.0**63
CHOICE = " is not one of "  # typer 这样说不在几种之内

# 几种错说的是同一句
NOT_INTEGER = ("应为整数", "must be an integer")
NOT_NUMBER = ("应为数字", "must be a number")
NOT_OBJECT = ("应为对象", "must be an object")
NOT_UUID = ("应为 UUID", "must be a UUID")
NOT_DATE = ("应为日期 YYYY-MM-DD", "must be a date YYYY-MM-DD")
NOT_MOMENT = ("应为 RFC 3339 时间", "must be an RFC 3339 time")

REASONS: Mapping[str, tuple[str, str]] = {
    "missing": ("必填", "required"),
    "extra_forbidden": ("未知字段", "unknown field"),
    "string_type": ("应为字符串", "must be a string"),
    "string_too_short": ("至少 {min_length} 个字符", "at least {min_length} {min_length:character|characters}"),
    "string_too_long": ("至多 {max_length} 个字符", "at most {max_length} {max_length:character|characters}"),
    "string_pattern_mismatch": ("格式不符：{pattern}", "must match {pattern}"),
    "string_unicode": ("不是合法的 Unicode", "must be valid Unicode"),
    "int_type": NOT_INTEGER,
    "int_parsing": NOT_INTEGER,
    "int_parsing_size": ("整数过大", "integer too large"),
    "int_from_float": NOT_INTEGER,
    "float_type": NOT_NUMBER,
    "float_parsing": NOT_NUMBER,
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
    "too_short": ("至少 {min_length} 项", "at least {min_length} {min_length:item|items}"),
    "too_long": ("至多 {max_length} 项", "at most {max_length} {max_length:item|items}"),
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
FALLBACK = ("值有误", "invalid value")
PLAIN = r"^[A-Za-z0-9_.-]+$"
# 正则是给程序看的
PATTERNS: Mapping[str, tuple[str, str]] = {
    r"^[!-~]{1,128}$": (
        "1 到 128 个 ASCII 字母、数字或标点，不能有空格",
        "must be 1 to 128 ASCII letters, digits or punctuation marks, without spaces",
    ),
    PLAIN: ("只能有字母、数字和 _ . -", "must be letters, digits and _ . - only"),
    r"^[0-9]{10,20}$": ("应为 10 到 20 位数字", "must be 10 to 20 digits"),
    r"\S": ("不能全是空白", "must not be blank"),
}


def wrong(item: ErrorDetails) -> tuple[str, str]:
    """Pydantic 的一处错误。"""
    kind, context = item["type"], dict(item.get("ctx", {}))
    if kind == "value_error" and CHOICE in (said := str(context["error"])):
        kind, context = "enum", {"expected": " or ".join(said.rpartition(CHOICE)[2].removesuffix(".").rsplit(", ", 1))}
    if kind == "int_type" and _is_huge(item["input"]):
        kind = "int_parsing_size"
    if kind == "string_pattern_mismatch" and context["pattern"] in PATTERNS:
        return PATTERNS[context["pattern"]]
    zh, en = REASONS.get(kind, FALLBACK)
    listed = {name: in_chinese(value) for name, value in context.items()}
    return fill(zh, listed), fill(en, context)


def both(error: Exception) -> tuple[str, str]:
    """发件箱的库说的：英文与中文之间隔着「 / 」。"""
    en, _, zh = str(error).partition(" / ")
    return zh, en


def _is_huge(given: object) -> bool:
    """64 位装不下的整数，JSON 解析器读成了浮点。"""
    return isinstance(given, float) and abs(given) >= BEYOND_64_BITS


def in_chinese(value: object) -> object:
    """Pydantic 并列的几样。"""
    return value.replace("' or '", "', '").replace("', '", "'、'") if isinstance(value, str) else value
