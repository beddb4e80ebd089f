"""访问日志里的正文：先脱敏，后截断；再深、再坏、再长的正文也不漏秘密，时间与记下的字节数成正比。"""

from __future__ import annotations

from urllib.parse import unquote_plus

import orjson

from kaguan.logging.masking import MASK, OVERLAP, Budget, mask, mask_value, without_torn_end
from kaguan.logging.secret_rules import TRIGGERS, Rule, cover
from kaguan.words.patterns import linear
from kaguan.words.printable import LINES, printable
from kaguan.words.secret_names import NAME, is_secret
from kaguan.words.units import KIB, MIB

LIMIT = 50 * KIB  # 字节，UTF-8；受理了的请求
REFUSED_LIMIT = 2 * KIB  # 字节；没有认证的、没受理就拒绝的请求
PARSE_LIMIT = MIB  # 字节；我们自己的应答大于它就不解析，按文本脱敏
FORM = "application/x-www-form-urlencoded"
_SAMPLE = KIB  # 字节；看这么多来判断是不是文本

# 一个可疑的片段也没有的正文，原样记
_SUSPICIOUS = linear(rf"{TRIGGERS}|content_base64|\\u[0-9a-f]".encode())
_ESCAPE = b"\\u"  # RFC 8259 §7
_ESCAPE_DIGITS = 4
_SPACE = 0x20

# 没有解析过的正文另有三条：值写在下一行的键；附件；网页里的表单
_BODY_RULES: tuple[Rule, ...] = (
    Rule(
        linear(
            rf"(?m)(^[ \t\"']*[\w.\x80-\xff-]*(?:{NAME})[\w.\x80-\xff-]*"
            rf"[ \t\"']*(?:\r?\n[ \t]*)+)([^\r\n]+)".encode()
        ),
        lambda _text, found: found.end(2),
    ),
    Rule(linear(rb"(content_base64\\*\"\s*:\s*\\*\")([\w+/=-]+)"), lambda _text, found: found.end(2)),
    Rule(
        linear(rf"(name=\"[\w.-]*(?:{NAME})[\w.-]*\"\s+value=\")([^\"]+)".encode()), lambda _text, found: found.end(2)
    ),
)


def redact(raw: bytes, content_type: str, parsed: object = None, limit: int = LIMIT, *, own: bool = False) -> str:
    """正文的可记形式，UTF-8 至多 ``limit`` 字节；只看 ``raw`` 开头的 ``limit + OVERLAP`` 字节。

    Args:
        raw: 收到或发出的字节。
        content_type: 媒体类型；非文本的只记大小。
        parsed: 受理时已解析好的 JSON；没有就按文本脱敏，别人的正文这里从不解析。
        limit: :data:`LIMIT` 或 :data:`REFUSED_LIMIT`。
        own: ``raw`` 是我们自己写的；是 JSON 就可以在可疑时解析。
    """
    if not raw:
        return ""
    if not _textual(content_type, raw):
        return f"<二进制 {len(raw)} 字节 {content_type[:100]}>"
    head = raw[: limit + OVERLAP]
    cut = len(head) < len(raw)
    if content_type == FORM:
        return truncate(_form((without_torn_end(head) if cut else head).decode("utf-8", "replace"), limit), limit)
    if _SUSPICIOUS.search(head) is None:
        return truncate(head.decode("utf-8", "replace"), limit)
    if own and "json" in content_type and len(raw) <= PARSE_LIMIT:
        parsed = orjson.loads(raw)
    if parsed is None:
        covered = cover(cover(_unescaped(head), _BODY_RULES))
        return truncate((without_torn_end(covered) if cut else covered).decode("utf-8", "replace"), limit)
    masked = mask_value(parsed, Budget(limit + OVERLAP))
    return truncate(orjson.dumps(masked).decode(), limit)


def one_line(text: str) -> str:
    """动得了终端、换得了行的写成转义；C0 归 JSON 自己转义。"""
    return text if text.isascii() else printable(text, LINES)


def truncate(text: str, limit: int = LIMIT) -> str:
    """截到 ``limit`` 字节，不切断字符；结果只有一行。"""
    text = one_line(text)
    if len(text) * 4 <= limit:
        return text
    encoded = text.encode("utf-8", "replace")
    return text if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore")


def _unescaped(text: bytes) -> bytes:
    r"""JSON 的 ``\uXXXX`` 换成字符，藏在转义里的键名才认得出；控制字符与代理项留着。"""
    first, *rest = text.split(_ESCAPE)
    return first + b"".join(_character(piece[:_ESCAPE_DIGITS]) + piece[_ESCAPE_DIGITS:] for piece in rest)


def _character(digits: bytes) -> bytes:
    try:
        code = int(digits, 16) if len(digits) == _ESCAPE_DIGITS else 0
        return chr(code).encode() if code >= _SPACE else _ESCAPE + digits
    except ValueError:  # 不是四位十六进制，或是代理项（UnicodeEncodeError）
        return _ESCAPE + digits


def _form(text: str, limit: int) -> str:
    pairs = (pair.partition("=") for pair in text.split("&"))
    return "&".join(
        f"{mask(key, limit)}{sign}{MASK if sign and is_secret(unquote_plus(key)) else mask(unquote_plus(value), limit)}"
        for key, sign, value in pairs
    )


def _textual(content_type: str, raw: bytes) -> bool:
    sample = raw[:_SAMPLE]
    if sample.startswith(b"--") and b"form-data" in sample:
        return False  # 没有声明的 multipart：字段名与值隔着几行
    if content_type.startswith(("text/", "application/json", FORM)):
        return b"\x00" not in sample
    if content_type not in {"", "application/octet-stream"}:
        return "json" in content_type or "xml" in content_type
    try:
        sample[: len(sample) - 3 if len(raw) > len(sample) else len(sample)].decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in sample
