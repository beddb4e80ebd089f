"""邮件头的编码：自己写出每一行，不经标准库的「解析再折行」。

标准库会把标题里的 ``=?utf-8?b?…?=`` 当编码字解开（其中可藏 CR/LF，CVE-2024-6923），折行时又会丢空格；
而且换一个 Python 小版本字节就可能变，重发便不再逐字节相同。
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

LINE_LENGTH = 76  # RFC 2047 §2：含编码字的行至多 76
_WORD_OCTETS = 39  # 编码后 52 字符，连同 =?utf-8?b?…?= 与头名在 76 以内
_SEGMENT_LENGTH = 55  # 字符；一段 RFC 2231 续行，连同 filename*NN*= 在 76 以内
_PLAIN_TEXT = re.compile(r"[!-~]+(?: [!-~]+)*\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._\-]{1,60}\Z")


def unstructured(name: str, text: str) -> str:
    """一行（或折成几行的）自由文本头部；``text`` 必须已过 ``check_header``。"""
    if len(name) + 2 + len(text) <= LINE_LENGTH and _PLAIN_TEXT.match(text) and "=?" not in text:
        return f"{name}: {text}\r\n"
    return f"{name}: " + "\r\n ".join(_encoded_words(text)) + "\r\n"


def mailboxes(name: str, addresses: Iterable[str]) -> str:
    """每个地址一行；地址是不带引号的 addr-spec，因此无需转义。"""
    return f"{name}: " + ",\r\n ".join(addresses) + "\r\n"


def named_mailbox(name: str, display: str, address: str) -> str:
    """``显示名 <地址>``；显示名总是编码字，其中的特殊字符因而都只是文字。"""
    if not display:
        return mailboxes(name, [address])
    return f"{name}: " + "\r\n ".join([*_encoded_words(display), f"<{address}>"]) + "\r\n"


def disposition(filename: str) -> str:
    """Content-Disposition 的值；文件名除最朴素的以外一律按 RFC 2231 百分号编码，长的分段，每行都不超长。"""
    if _PLAIN_NAME.match(filename):
        return f'attachment; filename="{filename}"'
    segments = [""]
    for character in filename:
        encoded = quote(character, safe="")
        if len(segments[-1]) + len(encoded) > _SEGMENT_LENGTH:
            segments.append("")
        segments[-1] += encoded
    if len(segments) == 1:
        return f"attachment;\r\n filename*=utf-8''{segments[0]}"
    lines = [f"filename*{index}*={segment}" for index, segment in enumerate(segments)]
    lines[0] = f"filename*0*=utf-8''{segments[0]}"
    return "attachment;\r\n " + ";\r\n ".join(lines)


def _encoded_words(text: str) -> list[str]:
    """按字符边界切块的 RFC 2047 编码字；相邻编码字之间的空白会被解码方忽略，所以空格都在字里。"""
    chunks: list[bytes] = [b""]
    for character in text:
        octets = character.encode("utf-8")
        if len(chunks[-1]) + len(octets) > _WORD_OCTETS:
            chunks.append(b"")
        chunks[-1] += octets
    return [f"=?utf-8?b?{base64.b64encode(chunk).decode('ascii')}?=" for chunk in chunks]
