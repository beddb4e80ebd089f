"""受理的约定：库里的一个函数 ``outbox_accept``，各种驱动、各种语言都经它（docs/library.md）。"""

from __future__ import annotations

from typing import LiteralString

from kaguan.database.sql import load

PACKAGE = "kaguan.outbox.accept"


def statement(schema: str, tasks: LiteralString) -> LiteralString:
    """在哪个模式里受理：那里的函数只认那里的表；空 = 缺省的。``tasks`` 是驱动的参数的记号。"""
    text: LiteralString = load(PACKAGE, "accept").replace("%(tasks)s", tasks)
    named: LiteralString = text.replace("outbox_accept(", f'"{schema}".outbox_accept(')
    return named if schema else text


def definition() -> LiteralString:
    """建这个函数的语句，不止一句；借来的放行，它的参数在这里面是变量。"""
    text = load(PACKAGE, "outbox_accept")
    return text.replace("%(principals)s", "principals").replace("%(keys)s", "keys")
