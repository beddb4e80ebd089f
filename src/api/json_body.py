"""安全地解析 JSON：Python 与 PostgreSQL 装不下的一律拒绝，绝不变成 500。

拒绝的有：坏 UTF-8、孤立代理项、NaN/Infinity、溢出的浮点、过深的嵌套、重复的键、超长整数。
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from kaguan.errors import Code, DomainError, FieldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_DEPTH = 32
MAX_INTEGER_DIGITS = 20  # 比 bigint 多一位：超界的整数留给字段校验去指名
NUL_ESCAPE = b"\\u0000"


def malformed(zh: str, en: str) -> DomainError:
    return DomainError(Code.MALFORMED_JSON, f"JSON 格式有误：{zh}", f"malformed JSON: {en}")


def parse(raw: bytes) -> object:
    """解析请求体。

    Raises:
        DomainError: 1010，格式有误；1001，字符串里有 NUL。
    """
    try:
        value: object = orjson.loads(raw)
        if raw.count(b":") != _keys(value):
            # 也许有重复的键，也许有超长的整数（orjson 把 64 位装不下的读成浮点），也许只是文本里有冒号：慢的解析看得清
            value = json.loads(raw, object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
    except orjson.JSONDecodeError as error:
        raise malformed(
            f"第 {error.lineno} 行第 {error.colno} 列", f"line {error.lineno} column {error.colno}"
        ) from None
    except (ValueError, RecursionError):
        raise malformed("无法解析", "cannot be parsed") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _refuse_depth(value)
    if NUL_ESCAPE in raw:
        _refuse_nul(value)
    return value


def _keys(value: object) -> float:
    """共有多少个键；有浮点就给无穷大。

    每个键在原文里至少有一个冒号，重复的键解析后却只剩一个：冒号恰好这么多，就没有重复。
    """
    children: Iterable[object]
    if isinstance(value, dict):
        count, children = float(len(value)), value.values()
    elif isinstance(value, list):
        count, children = 0.0, value
    else:
        return math.inf if isinstance(value, float) else 0.0
    for child in children:
        if isinstance(child, (dict, list, float)):
            count += _keys(child)
    return count


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise malformed("有重复的键", "duplicate keys")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise malformed("整数过长", "integer too long")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise malformed(f"不允许 {name}", f"{name} is not allowed")


def _refuse_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise malformed(f"嵌套超过 {MAX_DEPTH} 层", f"nested deeper than {MAX_DEPTH} levels")


def _children(value: object) -> list[object]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]


def _refuse_nul(value: object) -> None:
    fields = tuple(FieldError(path, "不能含 NUL 字符", "must not contain NUL") for path in _nul_paths(value, ""))
    if fields:
        raise DomainError(Code.INVALID_PARAMETERS, fields=fields)


def _nul_paths(value: object, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if "\x00" in value:
            yield path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nul_paths(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if "\x00" in key:
                yield path or "body"
            yield from _nul_paths(item, f"{path}.{key}" if path else key)
