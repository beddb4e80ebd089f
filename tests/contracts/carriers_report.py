"""运营商合同的一场：合同 × 方言 × 结果；``KAGUAN_WRITE_CONTRACT=1`` 时写成 docs/evidence/CONTRACT-CARRIERS.md。"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import TypeAlias

import pytest

from kaguan.sims.vocabulary import Carrier
from tests.support.occasion import occasion
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "evidence" / "CONTRACT-CARRIERS.md"
PATTERN = "test_carriers*.py"
SHARED = "不分"
COLUMNS = (*Carrier, SHARED)
# 合同 → 列 → 各种结局的次数
Results: TypeAlias = defaultdict[str, defaultdict[str, Counter[str]]]


class CarrierContract:
    """pytest 插件：记下运营商合同每一例的结局，全部跑完写成文档。"""

    def __init__(self) -> None:
        self.results: Results = defaultdict(lambda: defaultdict(Counter))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path, _, name = report.nodeid.partition("::")
        if Path(path).match(PATTERN) and (report.when == "call" or report.failed):
            contract, _, case = name.rstrip("]").partition("[")
            (column,) = set(case.split("-")) & set(Carrier) or {SHARED}
            self.results[contract][column][report.outcome] += 1

    def pytest_sessionfinish(self) -> None:
        if self.results:
            PAGE.write_text(page(self.results), "utf-8")


def page(results: Results) -> str:
    """整页。"""
    total: Counter[str] = sum((count for row in results.values() for count in row.values()), Counter())
    lines = [
        "# 运营商合同的一场",
        "",
        f"由 `make prove P=contract` 写成，不要手改。{occasion()}。",
        f"`tests/contracts/{PATTERN}` 经真的 HTTP 与模拟器对话。",
        "每格是这份合同在这家方言上通过的例数，「不分」的不论方言，或两家一起。",
        "",
        f"**{len(results)} 份合同，{total.total()} 例，{total.total() - total['passed']} 例没有通过。**",
        "",
        "| 合同 | " + " | ".join(COLUMNS) + " |",
        "| --- |" + " ---: |" * len(COLUMNS),
        *(
            f"| `{contract}` | " + " | ".join(_cell(row[column]) for column in COLUMNS) + " |"
            for contract, row in results.items()
        ),
        "",
    ]
    return "\n".join(lines)


def _cell(count: Counter[str]) -> str:
    if not count:
        return "—"
    return str(count["passed"]) if count.total() == count["passed"] else f"{count['passed']} / {count.total()}"
