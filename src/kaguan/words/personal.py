"""个人信息：文字里认得出的邮箱地址与长号码，留下头尾，够人对得上；认不出的文字不归这里管。"""

from __future__ import annotations

from collections.abc import Callable

from kaguan.words.patterns import Match, Pattern, linear
from kaguan.words.reasons import LEFT_OUT

TAIL = 4  # 号码留下的末几位
LONG = 10  # 位；手机号、ICCID、IMSI、IMEI 都不短于它
_PART = rb"[^\s<>()\[\]{}\"',;:=@]"
_MAILBOX = linear(rb"(" + _PART + rb"+)@" + _PART + rb"+")
# 任务号的一段也许全是数字：整个认出来，放过
_NUMBER = linear(rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|([0-9]{%d,})" % LONG)


def masked(text: str) -> str:
    """``a…@example.com``、``…1234``。"""
    raw = text.encode("utf-8", "replace")
    if b"@" in raw:
        raw = _replaced(raw, _MAILBOX, _mailbox)
    return _replaced(raw, _NUMBER, _number).decode("utf-8", "replace")


def recognised(text: str) -> str:
    """整个就是一个邮箱地址、一个号码的，遮住；是别的什么，这里认不出，略去。"""
    raw = text.encode("utf-8", "replace")
    known = _MAILBOX.fullmatch(raw) or _NUMBER.fullmatch(raw)
    return masked(text) if known else LEFT_OUT


def _mailbox(text: bytes, found: Match) -> bytes:
    local = text[found.start(1) : found.end(1)].decode("utf-8", "replace")
    return f"{local[:1]}{LEFT_OUT}".encode() + text[found.end(1) : found.end()]


def _number(text: bytes, found: Match) -> bytes:
    if found.start(1) >= 0:
        return text[found.start() : found.end()]
    return LEFT_OUT.encode() + text[found.end() - TAIL : found.end()]


def _replaced(text: bytes, pattern: Pattern, instead: Callable[[bytes, Match], bytes]) -> bytes:
    pieces: list[bytes] = []
    done = 0
    while (found := pattern.search(text, done)) is not None:
        pieces += text[done : found.start()], instead(text, found)
        done = found.end()
    return b"".join((*pieces, text[done:]))
