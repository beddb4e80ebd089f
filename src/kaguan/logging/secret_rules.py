"""文本里的秘密各长什么样、盖到哪里为止。在 UTF-8 字节上做（见 :mod:`kaguan.words.patterns`）。

每条规则是一个「开头」：模式的第一组到秘密开始为止；秘密到哪里结束，由一个只往前看的函数说。找下一处从上一处的末尾起，
所以每个字节至多被一条规则看常数遍。各开头里能长的部分（键名的余部、空白、标签）互不相容：前面的走不通时，后面的也不会已经
走通，没有「看到末尾才知道不成立」的选择。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kaguan.words.patterns import Match, Pattern, linear
from kaguan.words.secret_names import PARTS, WORDS

End = Callable[[bytes, Match], int]

MASK = b"***"
SHORTEST = 5  # 字符；比它短的文本装不下任何一条规则要盖的东西（otp=1）

# 先看有没有可疑的片段，绝大多数文本因此不必逐条去试
TRIGGERS = rf"://|kg_|bearer|basic|key \(|failing row|{PARTS}|{WORDS}"
GATE = linear(TRIGGERS.encode())

_NAME = r"[\w.\x80-\xff-]"  # 键名里的字符，非 ASCII 的都算
_KEY = rf"(?:(?:{PARTS}){_NAME}*?|{WORDS}(?:[_.-]{_NAME}*?)?)"
_SIGN = r"(?:[:=]|：|＝)[:=>]{0,2}"
# 键、收尾的引号（JSON 里的 JSON 带反斜线）、冒号或等号；认证方式留着，盖它后面的
_PAIR = linear(rf"({_KEY}[\\\"'\]]*\s*{_SIGN}\s*(?:(?:bearer|basic)\s+)?)".encode())
# 一句话里的：my password is X、the OTP was: X、密码是X；值是 ASCII 的才算，「密码是常见的默认值」不算
_SAID = r"pass(?:word|wd|phrase|code)s?|pwd|密码|密碼|口令|验证码|驗證碼"
_PROSE = linear(rf"((?:{_SAID}|{WORDS})[\\\"']*(?:\s+(?:is|was|are)\b|\s*(?:是|为))\s*(?:{_SIGN}\s*)?)[!-~]".encode())
_WHOLE_LINE = linear(rb"authorization|cookie")  # HTTP 头的值可以有分号、逗号、空格：盖到行尾
_OPENING_QUOTE = linear(rb"(\\*)[\"']")
_BARE = linear(rb"(?:[^\s,;&}\]<>\"'\\]|[\"'\\]+[^\s,;&}\]<>\"'\\])+")
_TO_END_OF_LINE = linear(rb"[^\r\n]*")

QUOTE, BACKSLASH = ord('"'), ord("\\")
OPENING, CLOSING = frozenset(b"[{"), frozenset(b"]}")


def _pair_end(text: bytes, found: Match) -> int:
    """值到哪里为止：引号、括号找配对的另一半，找不到就到底；裸的到分隔符。"""
    start = found.end(1)
    opening = _OPENING_QUOTE.match(text, start)
    if opening is not None:
        return _string_end(text, opening)
    if text[start : start + 1] in {b"[", b"{"}:
        return _bracket_end(text, start)
    key = text[found.start(1) : start]
    bare = (_BARE if _WHOLE_LINE.search(key) is None else _TO_END_OF_LINE).match(text, start)
    return start if bare is None else bare.end()


def _string_end(text: bytes, opening: Match) -> int:
    """字符串的末尾。

    开头的引号前有 n 条反斜线（JSON 里的 JSON 是 1），收尾的就有 n 加上成对转义的若干条；更少的是外层的收尾。
    """
    level = opening.end(1) - opening.start(1)
    quote = text[opening.end() - 1 : opening.end()]
    looked = opening.end()
    while (at := text.find(quote, looked)) >= 0:
        before = text[looked:at]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes < level or backslashes % (2 * (level + 1)) == level:
            return at + 1
        looked = at + 1
    return len(text)


def _bracket_end(text: bytes, start: int) -> int:
    """配对的右括号之后；双引号里的不算。"""
    depth, quoted, escaped = 0, False, False
    for at, byte in enumerate(memoryview(text)[start:], start):
        if escaped:
            escaped = False
        elif byte == BACKSLASH:
            escaped = True
        elif byte == QUOTE:
            quoted = not quoted
        elif quoted:
            continue
        elif byte in OPENING:
            depth += 1
        elif byte in CLOSING:
            depth -= 1
            if depth == 0:
                return at + 1
    return len(text)


def _row_end(text: bytes, found: Match) -> int:
    """PostgreSQL 的行值：到本行最后一个右括号；值里有换行、本行没有的，到底。"""
    start = found.end(1)
    line = _TO_END_OF_LINE.match(text, start)
    closing = text.rfind(b")", start, len(text) if line is None else line.end())
    return closing if closing >= 0 else len(text)


def _second_group(_text: bytes, found: Match) -> int:
    return found.end(2)


class Rule(NamedTuple):
    """一种秘密：``head`` 的第一组到秘密开始为止，``end`` 说它到哪里。"""

    head: Pattern
    end: End


RULES: tuple[Rule, ...] = (
    # scheme://用户:密码@主机；密码里可以有任何非空白、非斜线字符
    Rule(linear(rb"([a-z0-9+.-]://[^\s:/@]*:)([^\s/]*)@"), _second_group),
    Rule(linear(rb"\b((?:bearer|basic)\s+)([\w.~+/=-]{6,})"), _second_group),
    Rule(linear(rb"\b(kg_)([\w-]{6,})"), _second_group),
    # XML：标签名是秘密，到最近的结束标签为止
    Rule(linear(rf"(<[\w:.\x80-\xff-]*{_KEY}(?:\s[^<>]*)?>)((?:<[^/<>][^<>]*>|[^<])*)</".encode()), _second_group),
    Rule(_PAIR, _pair_end),
    Rule(_PROSE, _pair_end),
    # PostgreSQL 的 DETAIL 带着整行或键的值：个人信息（见 PostgreSQL 文档「Error Fields」）
    Rule(linear(rb"\b(Key \([^)\n]*\)=\()"), _row_end),
    Rule(linear(rb"(Failing row contains \()"), _row_end),
)


def cover(text: bytes, rules: tuple[Rule, ...] = RULES) -> bytes:
    """逐条规则盖住秘密。"""
    for head, end in rules:
        pieces: list[bytes] = []
        done = 0
        while (found := head.search(text, done)) is not None:
            secret, after = found.end(1), end(text, found)
            pieces += text[done:secret], MASK if after > secret else b""
            done = after
        if pieces:
            text = b"".join((*pieces, text[done:]))
    return text
