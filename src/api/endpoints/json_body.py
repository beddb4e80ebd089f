"""安全地解析 JSON，只解析一遍：Python 与 PostgreSQL 装不下的一律拒绝，绝不变成 500。

拒绝的有：坏 UTF-8、孤立代理项、NaN/Infinity、溢出的数、过深的嵌套、重复的键、NUL，以及骨架大得用不着的。
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from api.endpoints.reasons import MAX_REPORTED
from api.endpoints.structure import Structure, measure, measure_at_once
from kaguan.flow.time_slice import TimeSlice
from kaguan.words.errors import Code, DomainError, FieldError
from kaguan.words.units import KIB

MAX_DEPTH = 32
NUL_ESCAPE = b"\\u0000"
SMALL = 16 * KIB  # 字节：几十微秒的事，不必分步
STRIDE = 1_024  # 长数组里看过这么多项，就看看是否该让一圈


def malformed(zh: str, en: str) -> DomainError:
    return DomainError(Code.MALFORMED_JSON, f"JSON 格式有误：{zh}", f"malformed JSON: {en}")


async def parse(raw: bytes, allowed: Structure) -> object:
    """解析请求体；各步之间让别的请求先走。64 位装不下的整数读成浮点，留给字段校验去指名。

    Args:
        raw: 收到的字节。
        allowed: 这条路由用得着的骨架。

    Raises:
        DomainError: 1010，格式有误；1001，字符串里有 NUL。
    """
    if len(raw) <= SMALL and NUL_ESCAPE not in raw:
        found = measure_at_once(raw, allowed)
        value = _loaded(raw)
        _check_shape(value, found)
        return value
    time_slice = TimeSlice()
    found = await measure(raw, allowed)
    await time_slice.pause_when_used()
    value = _loaded(raw)
    await time_slice.pause_when_used()
    _check_shape(value, found)
    await time_slice.pause_when_used()
    if NUL_ESCAPE in raw:
        await _refuse_nul(value, time_slice)
    return value


def _loaded(raw: bytes) -> object:
    try:
        value: object = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise malformed(
            f"第 {error.lineno} 行第 {error.colno} 列", f"line {error.lineno} column {error.colno}"
        ) from None
    return value


def _check_shape(value: object, found: Structure) -> None:
    """深度与重复的键。重复的键解析后只剩一个：键数与原文引号之外的冒号数相等，就没有重复。

    一层一层地看；对象与数组都见过了就不必再往里看：最里面的长数组从不逐项看。
    """
    level = [value] if isinstance(value, dict | list) else []
    seen, keys, depth = len(level), 0, 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise malformed(f"嵌套超过 {MAX_DEPTH} 层", f"nested deeper than {MAX_DEPTH} levels")
        keys += sum(len(parent) for parent in level if isinstance(parent, dict))
        if seen == found.containers:
            break
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        seen += len(level)
    if keys != found.keys:
        raise malformed("有重复的键", "duplicate keys")


def _children(parent: dict[str, object] | list[object]) -> Iterable[object]:
    return parent.values() if isinstance(parent, dict) else parent


async def _refuse_nul(value: object, time_slice: TimeSlice) -> None:
    fields: list[FieldError] = []
    for path in _nul_paths(value, ""):
        if path is None:
            await time_slice.pause_when_used()
            continue
        fields.append(FieldError(path, "不能含 NUL 字符", "must not contain NUL"))
        if len(fields) == MAX_REPORTED:
            break
    if fields:
        raise DomainError(Code.INVALID_PARAMETERS, fields=tuple(fields))


def _nul_paths(value: object, path: str) -> Iterator[str | None]:
    """含 NUL 的字段；隔一阵给一个 None，好让调用者歇一歇。"""
    if isinstance(value, str):
        if "\x00" in value:
            yield path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if index % STRIDE == 0:
                yield None
            yield from _nul_paths(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            if "\x00" in key:
                yield path or "body"
            yield from _nul_paths(item, f"{path}.{key[:100]}" if path else key[:100])
        yield None
