"""命令行自己的话：两种语言各一份 ``locales/*.toml``，键两边相同（由测试核对）；说的时候按读者的语言挑。"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from kaguan.cli.configured import current_settings
from kaguan.config.process import ConfigurationError
from kaguan.words.filling import fill
from kaguan.words.language import environment_language
from kaguan.words.wrong import both


@cache
def catalogue(language: str) -> Mapping[str, Mapping[str, Any]]:
    """``command``、``option`` 两节是帮助，``line`` 是命令印出的话，``table`` 是各表的表头。"""
    return tomllib.loads((files("kaguan.cli") / "locales" / f"{language}.toml").read_text("utf-8"))


def reader_language() -> str:
    """命令印出的话、原因与拒绝的语言：照配置；配置有误就照环境变量说它有误。"""
    try:
        return current_settings().language
    except ConfigurationError:
        return environment_language()


def say(name: str, /, **values: object) -> str:
    """``line`` 里的一句，填上 ``values``。"""
    text: str = catalogue(reader_language())["line"][name]
    return fill(text, values)


def worded(error: Exception) -> str:
    """发件箱的库说的，只要读者的那一种语言；说的是哪一项，只有英文里有。"""
    zh, en = both(error)
    if reader_language() == "en":
        return en
    field, colon, _ = en.partition(": ")
    return (
        say("field", field=field, reason=zh)
        if colon and field.replace(", ", "").isidentifier() and field not in zh
        else zh
    )


def joined(items: Iterable[str]) -> str:
    """几样并列。"""
    return say("and").join(items)
