"""两种语言的全部文本：``locales/<语言>.toml``，一处一句，键两边相同（由测试核对）。"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from kaguan.words.filling import fill
from kaguan.words.language import LANGUAGES


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """键 ``节.名`` → 文本；文本里的 ``{名}`` 由调用者填。"""
    raw = (files("api.console") / "locales" / f"{language}.toml").read_text("utf-8")
    return dict(_flatten(tomllib.loads(raw), ""))


def _flatten(group: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in group.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


class Translator:
    """一种语言；模板里叫 ``t``。"""

    def __init__(self, language: str) -> None:
        self.language = language if language in LANGUAGES else LANGUAGES[0]
        self._texts = catalogue(self.language)

    def __call__(self, key: str, **values: object) -> str:
        text = self._texts[key]
        return fill(text, values) if values else text

    def known(self, key: str, fallback: str) -> str:
        """词汇表之外的值（新的事件种类等）原样显示，不让页面倒下。"""
        return self._texts.get(key, fallback)
