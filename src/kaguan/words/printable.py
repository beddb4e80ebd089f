"""别人的文字写到日志、终端之前：动得了终端、换得了行、藏得住字的字符一律写成转义。"""

from __future__ import annotations

import json

LINES = "\n\r\t"  # 分行、对齐用的：放得下几行的地方留着


def printable(text: str, kept: str = "") -> str:
    r"""不是 ``isprintable()`` 的（C0、C1、行分隔符、双向与零宽控制符、代理项）写成 ``\uXXXX``；``kept`` 里的留着。

    写法是 JSON 的：整行 JSON 过一遍仍是同样的 JSON。
    """
    rest = text
    for character in kept:
        rest = rest.replace(character, "")
    if rest.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else json.dumps(char)[1:-1] for char in text)
