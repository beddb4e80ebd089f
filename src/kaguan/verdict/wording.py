"""说：一件事怎么讲、怎么办，两种语言；键两边相同（由测试核对）。"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from kaguan.verdict import queries
from kaguan.verdict.model import Concern, ConcernCode
from kaguan.words.durations import duration
from kaguan.words.filling import fill
from kaguan.words.reasons import Reason

DURATIONS = {"seconds", "blocking", "eta"}
PLAIN = {"pid"}  # 号码，不是数量
REASON = "reason"  # 装进文本的原因
CALLER = "caller"  # 多半是谁交的
NAMED = ("scope", "role")  # 各有一节说它叫什么：暂停管的，进程做的
# 有这个参数，说法就不同
VARIANTS = {
    ConcernCode.SETBACKS: ("final", "final"),
    ConcernCode.HELD: ("whom", "waiting"),
    ConcernCode.ORDERING: ("held", "held"),
}


@cache
def catalogue(language: str) -> Mapping[str, Mapping[str, str]]:
    """``concern``、``advice``、``scope``、``role``、告诉人的 ``notice`` 与接在后面的 ``more`` 六节。"""
    return tomllib.loads((files("kaguan.verdict") / "locales" / f"{language}.toml").read_text("utf-8"))


def _as_it_is(_group: str, value: str) -> str:
    return value


@dataclass(frozen=True, slots=True)
class Wording:
    """``word``：词汇（queue、type）的叫法，不给就原样；``quoted``：读者看得到别人的原话。"""

    language: str
    word: Callable[[str, str], str] = _as_it_is
    quoted: bool = False

    def text(self, concern: Concern) -> str:
        values = {name: self._value(name, value) for name, value in concern.parameters.items()}
        words = catalogue(self.language)
        if concern.code is not ConcernCode.LOCKED:  # 那是数据库里的角色
            values |= {name: words[name].get(values[name], values[name]) for name in NAMED if name in values}
        more = words["more"][CALLER] if CALLER in values else ""
        return fill(words["concern"][_variant(concern)] + more, values)

    def advice(self, concern: Concern) -> str:
        return catalogue(self.language)["advice"][_variant(concern)]

    def parameters(self, concern: Concern) -> dict[str, Any]:
        """给程序看的参数：只有原因说成话。"""
        told = dict(concern.parameters)
        return told | {REASON: self._value(REASON, told[REASON])} if REASON in told else told

    def _value(self, name: str, value: str | float | None) -> str:
        if name == REASON:
            return Reason.unpacked(str(value)).text(self.language, quoted=self.quoted)
        if isinstance(value, str):
            return self.word(name, value) if name in {"queue", "type", "whom"} else value
        if value is None:
            return "–"
        if name in DURATIONS:
            return duration(value)
        if name in PLAIN:
            return str(value)
        return f"{_precision(value)}{value:,}" if isinstance(value, int) else f"{value:g}"


def _precision(count: int) -> str:
    """数到封顶为止的写「≥」；更大的是估的。"""
    if count < queries.COUNT_CAP:
        return ""
    return "≥ " if count == queries.COUNT_CAP else "≈ "


def _variant(concern: Concern) -> str:
    """同一件事轻重、情形不同，说法也不同。"""
    by_level = f"{concern.code}_{concern.level}"
    if by_level in catalogue("zh")["concern"]:
        return by_level
    if concern.code is ConcernCode.LOCKED and "blocking" in concern.parameters:
        return f"{concern.code}_least"
    parameter, ending = VARIANTS.get(concern.code, ("", ""))
    if concern.parameters.get(parameter):
        return f"{concern.code}_{ending}"
    if concern.code in {ConcernCode.BACKLOG, ConcernCode.LIMITED} and not concern.parameters.get("rate"):
        return f"{concern.code}_still"
    return str(concern.code)
