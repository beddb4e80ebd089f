"""对方的话：别人写的文本，留档与给人看之前先洗净。"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from kaguan.logging.masking import MASK, mask

REPLY_LENGTH = 500  # 字符；够看清原因，又不会被对方撑大
SHORTEST_SECRET = 3  # 字符；更短的照字面盖会把话盖得不成句
_STRUCTURE = str.maketrans("；，：（）", ";,:()")  # 我们用它们拼句子、拆句子，别人的话里不留
_EDGES = frozenset(" <>@")


def clean(text: str) -> str:
    """一行、无控制字符、无孤立代理、有上限。"""
    printable = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(character if character.isprintable() else " " for character in printable)[:REPLY_LENGTH]


def words(text: str, limit: int, secrets: Iterable[str] = ()) -> str:
    """给人看的那几句：同 :func:`clean`，另盖住地址与秘密，至多 ``limit`` 个字符。"""
    text = " ".join(clean(text).translate(_STRUCTURE).split())
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, MASK)
    text = _without_addresses(mask(text))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _without_addresses(text: str) -> str:
    """盖住 ``本地部分@域``；加引号的本地部分里可以有空白（RFC 5321 §4.1.2）。``text`` 里的空白只有空格。"""
    kept: list[str] = []
    done = 0
    for at, character in enumerate(text):
        if character != "@" or at < done:
            continue
        start = text.rfind('"', done, at - 1) if text[at - 1 : at] == '"' else -1
        if start < 0:
            start = at
            while start > done and text[start - 1] not in _EDGES:
                start -= 1
        end = at + 1
        while end < len(text) and text[end] not in _EDGES:
            end += 1
        if start < at and end > at + 1:
            kept += [text[done:start], MASK]
            done = end
    return "".join([*kept, text[done:]])


def credentials(username: str, password: str) -> list[str]:
    """登录时发过的每一种写法（RFC 4616、LOGIN）：对方若回显，都要盖住。长的在前。"""
    spelled = [username, password, f"\0{username}\0{password}"]
    encoded = [base64.b64encode(one.encode()).decode() for one in spelled]
    return sorted([username, password, *encoded], key=len, reverse=True)
