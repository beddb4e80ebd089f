"""写进文档的只有那一对记号之间；没有记号就不写。"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.campaign import Plan, Report
from tests.chaos.report import document, fill, table
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.story import logged
from tests.chaos.verdict import Verdict
from tests.support.readable import folded
from tests.support.repository import ROOT


def test_only_the_named_block_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("甲<!-- a -->旧<!-- /a -->乙<!-- b -->留<!-- /b -->丙", "utf-8")
    fill(page, "a", "新")
    assert page.read_text("utf-8") == "甲<!-- a -->\n\n新\n\n<!-- /a -->乙<!-- b -->留<!-- /b -->丙"
    with pytest.raises(LookupError):
        fill(page, "c", "新")


def test_the_page_has_a_place_for_every_result() -> None:
    page = (ROOT / "docs" / "evidence" / "RELIABILITY.md").read_text("utf-8")
    for name in ("campaign", "controls", *SCENARIOS):
        assert f"<!-- {name} -->" in page
        assert f"<!-- /{name} -->" in page


def test_the_page_says_what_was_broken() -> None:
    verdict = Verdict()
    plan = Plan("campaign", tasks=1, faults=0, seed=1)
    assert "| 裁判的话 | 合格 |" in document(Report(plan, verdict, [], {}, 1.0, 1.0))
    verdict.rule("重复生效", ["t-1"])
    assert "| 裁判的话 | 重复生效 1 |" in document(Report(plan, verdict, [], {}, 1.0, 1.0))


def test_what_was_raised_and_broken_survives_the_folding_of_a_failure(tmp_path: Path) -> None:
    trace = "Traceback:\n" + "  at\n" * 500 + "RuntimeError: the handler is closed"
    said = {"event": "处理器意外失败", "task_id": "t-1", "timestamp": "2026-01-01T00:00:00+00:00", "exception": trace}
    (tmp_path / "worker-0.log").write_text(json.dumps(said, separators=(",", ":")), "utf-8")
    story = [text for _, text in logged(tmp_path, "t-1")]
    verdict = Verdict()
    verdict.rule("重复生效", ["t-1"])
    report = Report(Plan("campaign", tasks=1, faults=0, seed=1), verdict, [], {}, 1.0, 1.0)
    report.stories["t-1"] = [*story, *(f"行 {number}" for number in range(200))]
    shown = "\n".join(folded(table(report).splitlines()))
    assert "RuntimeError: the handler is closed" in shown
    assert "不合格：重复生效：t-1" in shown
