"""填一句话里的空：与 ``str.format`` 一样，另有 ``{count:card|cards}``，按那个数是不是 1 挑单复数。"""

from __future__ import annotations

from string import Formatter
from typing import Any


class _Filling(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        one, either, many = format_spec.partition("|")
        if not either:
            return str(super().format_field(value, format_spec))
        return one if str(value) == "1" else many


_FILLING = _Filling()


def fill(text: str, values: dict[str, Any]) -> str:
    """``values`` 填进 ``text``。

    Raises:
        LookupError: 少了一个。
        ValueError: 写法不对，或值的类型不配。
    """
    return _FILLING.vformat(text, (), values)
