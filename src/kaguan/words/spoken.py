"""当场说给人听的话：配置错在哪里、起不来为什么。两种语言并排在 ``kaguan/<领域>/spoken.toml``，按环境要的语言挑。

要存下来、以后才显示的是原因（:mod:`kaguan.words.reasons`）；这里的说完就完了。
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from kaguan.words.language import environment_language


def said(code: str, /, **values: object) -> str:
    """``领域.名字`` 那一句，填上 ``values``。"""
    domain, _, name = code.partition(".")
    return spoken(domain)[name][environment_language()].format(**values)


def listed(items: Iterable[object], separator: str = "words.and") -> str:
    """几样并列。"""
    return said(separator).join(map(str, items))


@cache
def spoken(domain: str) -> Mapping[str, Mapping[str, str]]:
    """一个领域的话：名字 → 语言 → 文本。"""
    return tomllib.loads((files(f"kaguan.{domain}") / "spoken.toml").read_text("utf-8"))
