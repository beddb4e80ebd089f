"""裁决：哪些承诺被打破，附例子与数。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

RESTING = frozenset({"succeeded", "failed", "cancelled", "uncertain"})
MAIL = "email:send"
SAMPLES = 5


@dataclass(slots=True)
class Verdict:
    """``violations`` 的每一项都是一条被打破的承诺与例子；空即合格。"""

    figures: dict[str, int | float] = field(default_factory=dict)
    states: Counter[str] = field(default_factory=Counter)
    violations: dict[str, list[str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.violations

    def rule(self, name: str, offenders: list[str]) -> None:
        self.figures[name] = len(offenders)
        if offenders:
            self.violations[name] = offenders[:SAMPLES]
