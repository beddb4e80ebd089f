"""脱敏：日志、跟踪与错误文本里不得出现口令、令牌与个人信息。

文本来自外人，长短与内容都不可信：每条规则从左到右走一遍，已经走过的不回头，时间与字节数成正比；字节数本身也有上限。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kaguan.logging import secret_rules
from kaguan.logging.secret_rules import GATE, SHORTEST, cover
from kaguan.words.secret_names import MAX_NAME, is_secret
from kaguan.words.units import KIB

if TYPE_CHECKING:  # 只用来标注：盖住请求号的库里没有 structlog
    from structlog.typing import EventDict, WrappedLogger

MASK = secret_rules.MASK.decode()
FIELD_LIMIT = 64 * KIB  # 字节，UTF-8；一个日志字段至多看、至多写这么多
OVERLAP = 4 * KIB  # 字节；截断之前多看这么多，切口处的秘密才认得全
MAX_DEPTH = 32
ELLIPSIS = "…"
INT64_MIN, UINT64_END = -(2**63), 2**64  # orjson 写不出这之外的整数

# 由我们自己填、不可能含秘密的字段：每行都有，不必看
OWN_KEYS = frozenset(
    {"timestamp", "level", "logger", "process", "pid", "trace_id", "span_id", "trace_ids", "task_id", "task_ids"}
)


def mask(text: str, limit: int = FIELD_LIMIT) -> str:
    """盖住文本里的秘密：带密码的 URL、令牌、口令字段、PostgreSQL 错误里的行值。

    只看开头 ``limit + OVERLAP`` 字节，结果至多 ``limit`` 字节；截断了的以「…」收尾。孤立代理写成转义：JSON 装不下。
    """
    if len(text) < SHORTEST and text.isascii():
        return text
    raw = text[: limit + OVERLAP + 1].encode("utf-8", "backslashreplace")
    if len(raw) <= limit:
        return (raw if GATE.search(raw) is None else cover(raw)).decode("utf-8", "replace")
    return shortened(raw, limit)


def shortened(raw: bytes, limit: int) -> str:
    """先盖后截：``raw`` 的可记形式，至多 ``limit`` 字节（另加省略号），不切断字符。"""
    head = raw[: limit + OVERLAP]
    whole = len(head) == len(raw)
    covered = cover(head) if GATE.search(head) else head
    if not whole:
        covered = without_torn_end(covered)
    if whole and len(covered) <= limit:
        return covered.decode("utf-8", "replace")
    return covered[:limit].decode("utf-8", "ignore") + ELLIPSIS


def without_torn_end(covered: bytes) -> bytes:
    """盖短了以后，原文的切口会露出来；切口上的词可能是半个秘密，认不出，去掉。"""
    space = max(covered.rfind(separator) for separator in (b" ", b"\n", b"&"))
    return covered[: max(space, len(covered) - OVERLAP, 0)]


class Budget:
    """还可以输出多少字节：够写满上限就停，大的值不必走完。"""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def mask_value(value: object, budget: Budget | None = None, depth: int = 0) -> object:
    """同 :func:`mask`，深入列表与字典；秘密字段整个盖住。过深、过多的以「…」代替。"""
    budget = budget or Budget(FIELD_LIMIT)
    if isinstance(value, str):
        masked = mask(value, max(budget.left, 0))
        budget.left -= len(masked) + 2
        return masked
    if value is None or isinstance(value, bool | int | float):
        budget.left -= 8
        return value if not isinstance(value, int) or INT64_MIN <= value < UINT64_END else str(value)
    if depth > MAX_DEPTH:
        return ELLIPSIS
    if isinstance(value, dict):
        return dict(_mask_items(value, budget, depth))
    if isinstance(value, list | tuple | set | frozenset):
        return list(_mask_list(value, budget, depth))
    return mask_value(str(value), budget)


def _mask_items(value: dict[Any, Any], budget: Budget, depth: int) -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        if budget.left <= 0:
            yield ELLIPSIS, ELLIPSIS
            return
        name = str(key)
        shown = mask(name, MAX_NAME)
        budget.left -= len(shown) + 4
        if is_secret(name):
            yield shown, MASK
        elif key == "content_base64" and isinstance(item, str):  # 附件只记长度
            yield shown, f"<Base64 {len(item)} 字符>"
        else:
            yield shown, mask_value(item, budget, depth + 1)


def _mask_list(
    value: list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any], budget: Budget, depth: int
) -> Iterator[object]:
    for item in value:
        if budget.left <= 0:
            yield ELLIPSIS
            return
        budget.left -= 2
        yield mask_value(item, budget, depth + 1)


def mask_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Structlog 处理器：渲染之前盖住全部字段，异常文本在内；每个字段至多 :data:`FIELD_LIMIT` 字节。"""
    for key, value in event.items():
        if key in OWN_KEYS:
            continue
        if is_secret(key):
            event[key] = MASK
        else:
            event[key] = mask_value(value)
    return event
