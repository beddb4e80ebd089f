"""结果、进度、载荷念得出来：一项一行；长的只写开头，余下的折着，再多的不写。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from markupsafe import Markup

from api.console.texts import Translator

FIRST, MOST = 10, 500  # 个：一眼看见的，折着的也算上的
WORDS, LONGEST = 300, 20_000  # 字：同上
ROOM = 2_000  # 处：一份里合计写这么多
DEEPEST = 8
NOTHING = Markup("–")
LEFT = Markup("…")
ROW = Markup("<div><dt>{}</dt><dd>{}</dd></div>")
INLINE = Markup("<small>{}</small> {}")
FOLDED = Markup('<details id="more-{}"><summary>{}</summary>{}</details>')
SEPARATOR = Markup(" · ")


class Readable:
    """一份；折着的各有自己的号，页面刷新之后照样开着。"""

    def __init__(self, translate: Translator) -> None:
        self._t = translate
        self._left = ROOM
        self._numbers = count(1)

    def items(self, value: Any) -> Markup:
        """``dl`` 里的各项；不是对象的只有一项。"""
        return self._rows(value if isinstance(value, Mapping) else {"": value}, 0)

    def _rows(self, value: Mapping[str, Any], depth: int) -> Markup:
        taken = self._within(list(value.items()))
        return Markup("").join(ROW.format(name, self._said(item, depth + 1)) for name, item in taken)

    def _said(self, value: Any, depth: int) -> Markup:
        if value is None or value in ("", [], {}):
            return NOTHING
        if isinstance(value, str):
            return self._spoken(value)
        if not isinstance(value, dict | list):
            return Markup("{}").format(str(value).lower() if isinstance(value, bool) else value)
        return LEFT if depth >= DEEPEST else self._nested(value, depth)

    def _nested(self, value: dict[str, Any] | list[Any], depth: int) -> Markup:
        if isinstance(value, list):
            return self._said(value[0], depth) if len(value) == 1 else self._listed(value, depth)
        if any(isinstance(item, dict | list) for item in value.values()):
            return Markup("<dl>{}</dl>").format(self._rows(value, depth))
        taken = self._within(list(value.items()))
        return SEPARATOR.join(INLINE.format(name, self._said(item, depth + 1)) for name, item in taken)

    def _listed(self, values: Sequence[Any], depth: int) -> Markup:
        seen = Markup("<ol>{}</ol>").format(self._lines(values[:FIRST], depth))
        if len(values) <= FIRST:
            return seen
        rest = Markup('<ol start="{}">{}</ol>').format(FIRST + 1, self._lines(values[FIRST:MOST], depth))
        return seen + self._folded(self._t("task.more_items", count=f"{len(values) - FIRST:,}"), rest)

    def _lines(self, values: Sequence[Any], depth: int) -> Markup:
        line = Markup("<li>{}</li>")
        return Markup("").join(line.format(self._said(one, depth + 1)) for one in self._within(values))

    def _spoken(self, text: str) -> Markup:
        if len(text) <= WORDS:
            return Markup("{}").format(text)
        whole = Markup("<pre>{}</pre>").format(text[:LONGEST])
        folded = self._folded(self._t("task.more_text", count=f"{len(text):,}"), whole)
        return Markup("{}… ").format(text[:WORDS]) + folded

    def _folded(self, title: str, rest: Markup) -> Markup:
        return FOLDED.format(next(self._numbers), title, rest)

    def _within(self, values: Sequence[Any]) -> Sequence[Any]:
        """还写得下的。"""
        taken = values[: max(0, self._left)]
        self._left -= len(taken)
        return taken
