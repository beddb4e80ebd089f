"""只看的人（没有 ``ops``）看不见的：邮箱地址，结果里的文字。别人的原话见 :meth:`kaguan.words.reasons.Reason.text`。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kaguan.logging.secret_rules import Rule, cover
from kaguan.words.patterns import linear
from kaguan.words.reasons import LEFT_OUT

if TYPE_CHECKING:
    from kaguan.words.patterns import Match

_PART = rb"[^\s<>()\[\]{}\"',;:@]+"


def _mailbox_end(_text: bytes, found: Match) -> int:
    return found.end(2)


_MAILBOX = (Rule(linear(rb"()(" + _PART + rb"@" + _PART + rb")"), _mailbox_end),)


def without_mailboxes(text: str) -> str:
    """盖住邮箱地址；紧挨着它的文字也许一并盖住。"""
    return cover(text.encode("utf-8", "replace"), _MAILBOX).decode("utf-8", "replace") if "@" in text else text


def without_texts(value: Any) -> Any:  # noqa: ANN401 任意 JSON 值
    """只留键、数与真假：是谁的文字，这里认不出。"""
    if isinstance(value, dict):
        return {without_mailboxes(str(name)): without_texts(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_texts(item) for item in value]
    return LEFT_OUT if isinstance(value, str) else value
