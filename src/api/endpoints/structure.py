"""JSON 的骨架：建任何对象之前，先数清引号之外的括号、冒号、逗号；多得这条路由用不着的，不必解析就拒绝。

一个字节的 ``[`` 解析出来要占几十字节、几百纳秒：几兆的正文能占住一个多 GB、停住整个进程十几秒。
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from kaguan.flow.time_slice import TimeSlice
from kaguan.words.errors import Code, DomainError
from kaguan.words.units import KIB

SLICE = 256 * KIB  # 字节：一口气数这么多，不到一毫秒
SLACK = 256  # 上限之外的余地：写错的（多了字段、形状不对）仍按字段指名
_NAMES = (("对象与数组", "objects and arrays"), ("键", "keys"), ("逗号", "commas"))


class Structure(NamedTuple):
    """引号之外的括号（对象与数组的个数）、冒号（键的个数）、逗号。"""

    containers: int
    keys: int
    commas: int

    def plus(self, containers: int, keys: int, commas: int) -> Structure:
        return Structure(self.containers + containers, self.keys + keys, self.commas + commas)

    def times(self, count: int) -> Structure:
        return Structure(self.containers * count, self.keys * count, self.commas * count)


NOTHING = Structure(0, 0, 0)


async def measure(raw: bytes, allowed: Structure, piece: int = SLICE) -> Structure:
    """数出 ``raw`` 的骨架；大的分片数，每片 ``piece`` 字节，片间让别的请求先走。

    合法的 JSON 数得精确；格式有误的，出错处之前精确，之后至多多数——解析器也只建到那里。

    Raises:
        DomainError: 1010，比 ``allowed`` 多。
    """
    found, time_slice = NOTHING, TimeSlice()
    for outside in _outside_strings(raw, piece):
        await time_slice.pause_when_used()
        found = _counted(found, outside, allowed)
    return found


def measure_at_once(raw: bytes, allowed: Structure) -> Structure:
    """同上，不分片：小的。"""
    return _counted(NOTHING, next(_outside_strings(raw, len(raw)), b""), allowed)


def _counted(found: Structure, outside: bytes, allowed: Structure) -> Structure:
    found = found.plus(outside.count(b"[") + outside.count(b"{"), outside.count(b":"), outside.count(b","))
    if found.containers <= allowed.containers and found.keys <= allowed.keys and found.commas <= allowed.commas:
        return found
    limit, (zh, en) = next(
        (limit, name) for count, limit, name in zip(found, allowed, _NAMES, strict=True) if count > limit
    )
    raise DomainError(
        Code.MALFORMED_JSON,
        f"JSON 格式有误：{zh}超过这条路由的上限 {limit} 个",
        f"malformed JSON: more than {limit} {en}, the limit of this route",
    )


def _outside_strings(raw: bytes, size: int) -> Iterator[bytes]:
    """一片一片地给出字符串之外的字节；逐字节的活都在 C 里做。"""
    start, inside = 0, False
    while start < len(raw):
        piece = raw[start : start + size]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = raw[start : start + size + 1]  # 不把一个转义切成两半
        start += len(piece)
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= len(parts) % 2 == 0


@lru_cache(maxsize=64)
def capacity(shape: Any) -> Structure:
    """这种形状的请求体至多有多大的骨架，由模型的字段与 ``max_length`` 推出，加上 :data:`SLACK`。

    Raises:
        ValueError: 有没有上限的数组或任意的对象，推不出。
    """
    schema = TypeAdapter(shape).json_schema()
    return _capacity(schema, schema.get("$defs", {})).plus(SLACK, SLACK, SLACK)


def _capacity(schema: dict[str, Any], definitions: dict[str, Any]) -> Structure:
    if "$ref" in schema:
        return _capacity(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    options = schema.get("anyOf") or (schema.get("oneOf") if "properties" not in schema else None)
    if options:
        return Structure(*map(max, zip(*(_capacity(option, definitions) for option in options), strict=True)))
    kind = schema.get("type")
    if kind == "array" and "maxItems" in schema:
        most = schema["maxItems"]
        return _capacity(schema["items"], definitions).times(most).plus(1, 0, most)
    if kind == "object" and schema.get("additionalProperties") is False:
        fields = schema["properties"].values()
        total = Structure(1, len(fields), len(fields))
        for field in fields:
            total = total.plus(*_capacity(field, definitions))
        return total
    if kind in {"object", "array"}:
        raise ValueError(f"推不出骨架的上限：{schema.get('title', schema)}")
    return NOTHING
