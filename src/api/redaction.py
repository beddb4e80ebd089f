"""访问日志里的正文：先脱敏，后截断；再深、再坏的正文也不漏秘密（T118–T121）。"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import orjson

from kaguan.logging.masking import MASK, mask

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 50 * 1024  # 字节，UTF-8
OVERLAP = 4 * 1024  # 截断之前多看这么多，切口处的秘密才认得全
MAX_DEPTH = 32
_SEPARATORS = ("\u0085", "\u2028", "\u2029")
PARSE_LIMIT = 1024 * 1024  # 没解析过的正文，大于它就不解析，按文本脱敏
BASE64_SHOWN = 64  # 更长的 Base64 只记长度

_SENSITIVE = r"pass(?:word|wd|phrase)?|pwd|secret|token|authorization|api[_-]?key|credential|cookie|private[_-]?key"
SECRET_KEY = re.compile(_SENSITIVE, re.IGNORECASE)
# 小写正文里一个也没有，就不必解析；先变小写再找，比不分大小写的正则快几倍
_SUSPICIOUS = re.compile(
    rb"pass|pwd|secret|token|authorization|key|credential|cookie|kg_|bearer|basic|://|content_base64|\\u00"
)
_ESCAPED_ASCII = re.compile(r"\\u00([2-7][0-9a-fA-F])")
# 坏 JSON 里的键值：值可能没有收尾的引号，也可能是数组、对象（那就盖到底）
_BROKEN_PAIR = re.compile(
    rf"""(["']?[\w.-]*(?:{_SENSITIVE})[\w.-]*["']?\s*[:=]\s*)"""
    r"""("(?:[^"\\]|\\.)*(?:"|\\?$)|'(?:[^'\\]|\\.)*(?:'|\\?$)|[\[{].*|(?:(?:bearer|basic)\s+)?[^\s,;&}\]]+)""",
    re.IGNORECASE | re.DOTALL,
)
_BROKEN_BASE64 = re.compile(r'("content_base64"\s*:\s*")([^"]{65,})')


def redact(raw: bytes, content_type: str, parsed: object = None) -> str:
    """正文的可记形式，UTF-8 至多 :data:`LIMIT` 字节。

    Args:
        raw: 收到或发出的字节。
        content_type: 媒体类型；非文本的只记大小。
        parsed: 已解析好的 JSON（有就不再解析）。
    """
    if not raw:
        return ""
    if not _textual(content_type, raw):
        return f"<二进制 {len(raw)} 字节 {content_type[:100]}>"
    if content_type == "application/x-www-form-urlencoded":
        return truncate(_form(raw[: LIMIT + OVERLAP].decode("utf-8", "replace")))
    head = raw[: LIMIT + OVERLAP]
    if _SUSPICIOUS.search(head.lower()) is None:
        return truncate(head.decode("utf-8", "replace"))
    if parsed is None and len(raw) <= PARSE_LIMIT:
        try:
            parsed = orjson.loads(raw)
        except orjson.JSONDecodeError:
            parsed = None
    if parsed is None:
        return truncate(_broken(head.decode("utf-8", "replace")))
    budget = _Budget(LIMIT + OVERLAP)
    return truncate(orjson.dumps(_masked(parsed, budget, 0), default=str).decode())


def one_line(text: str) -> str:
    """JSON 不转义、而不少读日志的程序当作换行的三个字符，写成转义。"""
    if text.isascii():
        return text
    for separator in _SEPARATORS:
        if separator in text:
            text = text.replace(separator, f"\\u{ord(separator):04x}")
    return text


def truncate(text: str, limit: int = LIMIT) -> str:
    """截到 ``limit`` 字节，不切断字符；结果只有一行。"""
    text = one_line(text)
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def is_secret(key: str) -> bool:
    return SECRET_KEY.search(key) is not None


class _Budget:
    """还可以输出多少字符：够写满上限就停，大正文不必走完。"""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def _masked(value: object, budget: _Budget, depth: int) -> object:
    if depth > MAX_DEPTH:
        return "…"
    match value:
        case dict():
            return dict(_masked_items(value, budget, depth))
        case list():
            return list(_masked_list(value, budget, depth))
        case str():
            budget.left -= len(value) + 2
            return mask(value[: LIMIT + OVERLAP])
        case int() if not -(2**63) <= value < 2**64:
            return str(value)
        case _:
            budget.left -= 8
            return value


def _masked_items(value: dict[str, Any], budget: _Budget, depth: int) -> Iterator[tuple[str, object]]:
    for key, item in value.items():
        if budget.left <= 0:
            yield "…", "…"
            return
        budget.left -= len(key) + 4
        if is_secret(key):
            yield key, MASK
        elif key == "content_base64" and isinstance(item, str) and len(item) > BASE64_SHOWN:
            yield key, f"<Base64 {len(item)} 字符>"
        else:
            yield key, _masked(item, budget, depth + 1)


def _masked_list(value: list[Any], budget: _Budget, depth: int) -> Iterator[object]:
    for item in value:
        if budget.left <= 0:
            yield "…"
            return
        budget.left -= 2
        yield _masked(item, budget, depth + 1)


def _broken(text: str) -> str:
    """不是 JSON 的文本：按键名与形状盖住秘密，宁多勿少。"""
    plain = _ESCAPED_ASCII.sub(lambda match: chr(int(match[1], 16)), text)
    plain = _BROKEN_BASE64.sub(lambda match: f"{match[1]}<Base64 {len(match[2])} 字符>", plain)
    return mask(_BROKEN_PAIR.sub(rf"\g<1>{MASK}", plain))


def _form(text: str) -> str:
    pairs = (pair.partition("=") for pair in text.split("&"))
    return "&".join(
        f"{mask(key)}{sign}{MASK if sign and is_secret(unquote_plus(key)) else mask(unquote_plus(value))}"
        for key, sign, value in pairs
    )


def _textual(content_type: str, raw: bytes) -> bool:
    if content_type.startswith(("text/", "application/json", "application/x-www-form-urlencoded")):
        return b"\x00" not in raw[:1024]
    if content_type not in {"", "application/octet-stream"}:
        return "json" in content_type or "xml" in content_type
    sample = raw[:1024]
    try:
        sample[: len(sample) - 3 if len(raw) > len(sample) else len(sample)].decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in sample
