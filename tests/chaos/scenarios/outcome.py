"""一个场景的结果：数、目标、达到没有。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.verdict import Verdict


@dataclass(slots=True)
class Outcome:
    """``missed`` 的每一项是一个超出容差的目标，空即合格；``narrow`` 是没达到目标、还在容差之内的。"""

    name: str
    figures: dict[str, str] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    narrow: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.missed

    def within(self, what: str, value: float | None, target: float, slack: float, unit: str) -> None:
        """``value`` 应不大于 ``target``；超过 ``target + slack`` 才算没达到，之间如实写出。"""
        shown = "没有等到" if value is None else f"{value:.2f} {unit}"
        beyond = value is None or value > target + slack
        narrow = not beyond and value is not None and value > target
        said = "超出容差" if beyond else "没达到，在容差之内" if narrow else "达到"
        self.figures[what] = f"{shown}（目标 ≤ {target:g}，容差 {slack:g}：{said}）"
        if beyond:
            self.missed.append(f"{what}：{shown}，目标 {target:g} {unit}")
        if narrow:
            self.narrow.append(what)

    def judged(self, verdict: Verdict, redrives: Counter[str]) -> None:
        """裁判照样要判；重投按原因列出。"""
        self.figures["各状态"] = "，".join(f"{state} {count}" for state, count in verdict.states.most_common())
        self.figures["重投"] = "，".join(f"{cause} {times}" for cause, times in redrives.most_common()) or "0"
        self.figures["投递放大"] = f"{verdict.figures['投递放大']:g}"
        self.missed += [f"{rule}：{', '.join(samples)}" for rule, samples in verdict.violations.items()]

    def table(self) -> str:
        lines = [f"场景 {self.name}", *(f"  {name}：{value}" for name, value in self.figures.items())]
        lines += [f"  没达到：{item}" for item in self.missed]
        met = "达到全部目标" if not self.narrow else f"只在容差之内：{'、'.join(self.narrow)}"
        return "\n".join([*lines, f"结论：{f'合格（{met}）' if self.passed else '不合格'}"])
