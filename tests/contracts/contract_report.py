"""schemathesis 的事件流（NDJSON）→ 操作 × 例数 × 检查 × 失败；``KAGUAN_WRITE_CONTRACT=1`` 时写成 CONTRACT.md。"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.contracts.documented import DOCUMENT
from tests.support.occasion import occasion
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "evidence" / "CONTRACT.md"
WANTED = "KAGUAN_WRITE_CONTRACT"
UNDECLARED = "（没有声明的方法）"


@dataclass(slots=True)
class Tally:
    """一个操作：合文档与不合文档的请求数，检查过的次数，失败的次数，得到的状态。"""

    valid: int = 0
    invalid: int = 0
    checks: int = 0
    failures: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Summary:
    """整场的数目。``by_check`` 是 检查 → (次数, 失败)；``phases`` 是阶段 → 请求数。"""

    rows: dict[str, Tally] = field(default_factory=dict)
    by_check: dict[str, Counter[str]] = field(default_factory=dict)
    phases: Counter[str] = field(default_factory=Counter)

    @property
    def operations(self) -> set[str]:
        return self.rows.keys() - {UNDECLARED}

    @property
    def failures(self) -> int:
        return sum(row.failures for row in self.rows.values())

    @classmethod
    def of(cls, events: Path) -> Summary:
        summary = cls()
        for phase, recorder in _scenarios(events):
            for case_id, interaction in recorder.get("interactions", {}).items():
                checks = recorder.get("checks", {}).get(case_id, [])
                summary.note(phase, recorder["cases"][case_id]["value"], interaction, checks)
        return summary

    def note(self, phase: str, case: dict[str, Any], interaction: dict[str, Any], checks: list[dict[str, Any]]) -> None:
        """记下一次请求。"""
        declared = case["method"].lower() in DOCUMENT["paths"].get(case["path"], {})
        row = self.rows.setdefault(f"{case['method']} {case['path']}" if declared else UNDECLARED, Tally())
        if case["meta"]["generation"]["mode"] == "negative":
            row.invalid += 1
        else:
            row.valid += 1
        self.phases[phase] += 1
        if response := interaction.get("response"):
            row.statuses[response["status_code"]] += 1
        for check in checks:
            row.checks += 1
            row.failures += check["status"] != "success"
            self.by_check.setdefault(check["name"], Counter())[check["status"]] += 1

    def page(self) -> str:
        sent = sum(row.valid + row.invalid for row in self.rows.values())
        checked = sum(row.checks for row in self.rows.values())
        lines = [
            "# 接口契约的一场",
            "",
            f"由 `make prove P=contract` 写成，不要手改。{occasion()}。",
            "schemathesis 照 `/openapi.json` 向运行中的 API 发请求：文档里的例子、逐项越界、随机生成（合与不合文档）、",
            "拿一个应答里的号码去调下一个操作；每个应答过全部检查。",
            "",
            f"**{len(self.operations)} 个操作，{sent} 个请求，{checked} 次检查，{self.failures} 次失败。**",
            "",
            "| 阶段 | 请求 |",
            "| --- | ---: |",
            *(f"| {phase} | {count} |" for phase, count in self.phases.items()),
            "",
            "| 检查 | 次数 | 失败 |",
            "| --- | ---: | ---: |",
            *(
                f"| {name} | {count.total()} | {count.total() - count['success']} |"
                for name, count in sorted(self.by_check.items())
            ),
            "",
            "| 操作 | 合文档 | 不合文档 | 检查 | 失败 | 应答（状态 × 次数） |",
            "| --- | ---: | ---: | ---: | ---: | --- |",
            *(_line(name, row) for name, row in sorted(self.rows.items())),
            "",
        ]
        return "\n".join(lines)


def publish(summary: Summary) -> None:
    """环境变量要求时才写。"""
    if os.environ.get(WANTED):
        PAGE.write_text(summary.page(), "utf-8")


def _line(name: str, row: Tally) -> str:
    statuses = "、".join(f"{status} × {count}" for status, count in sorted(row.statuses.items()))
    return f"| `{name}` | {row.valid} | {row.invalid} | {row.checks} | {row.failures} | {statuses} |"


def _scenarios(events: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with events.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line).get("ScenarioFinished")
            if event is not None:
                yield event["phase"], event["recorder"]
