"""同步的计数与抽样：计数不限，样本有上限，能存进检查点、跨尝试累加。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

SAMPLE_LIMIT = 100


class Count(StrEnum):
    """计数的名字，也是结果里的键。"""

    FETCHED = "fetched"  # 运营商答了的记录
    INSERTED = "inserted"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    MISSING_THERE = "missing_there"  # 我们有，运营商没有
    MISSING_HERE = "missing_here"  # 运营商有，我们没有
    DIFFERENT = "different"  # 两边都有而不同（已按运营商的改正）
    UNKNOWN_CODES = "unknown_codes"  # 认不出的码：状态、在线与否、停机原因


class Sample(StrEnum):
    """样本的名字：各至多 ``SAMPLE_LIMIT`` 条。"""

    FAILURES = "failures"
    CHANGES = "changes"
    MISSING_THERE = "missing_there"
    MISSING_HERE = "missing_here"
    DIFFERENT = "different"


DRIFT = (Sample.MISSING_THERE, Sample.MISSING_HERE, Sample.DIFFERENT)


@dataclass(slots=True)
class Tally:
    counters: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: dict[str, Any]) -> Self:
        """从检查点的 JSON 还原。"""
        return cls(Counter(stored.get("counters", {})), dict(stored.get("samples", {})))

    def to_json(self) -> dict[str, Any]:
        return {"counters": dict(self.counters), "samples": self.samples}

    def count(self, name: Count, amount: int = 1) -> None:
        self.counters[name] += amount

    def sample(self, name: Sample, *items: object) -> None:
        kept = self.samples.setdefault(name, [])
        kept.extend(items[: SAMPLE_LIMIT - len(kept)])

    def fail(self, iccid: str, reason: str) -> None:
        self.count(Count.FAILED)
        self.sample(Sample.FAILURES, {"iccid": iccid, "reason": reason})

    def drift(self, kind: Sample, iccids: list[str]) -> None:
        self.count(Count(kind.value), len(iccids))
        self.sample(kind, *iccids)

    def merge(self, other: Tally) -> None:
        self.counters.update(other.counters)
        for name, items in other.samples.items():
            self.sample(Sample(name), *items)

    def count_all(self) -> dict[str, int]:
        """每个计数都在，没有的是 0。"""
        return {name.value: self.counters[name] for name in Count}
