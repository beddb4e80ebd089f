"""协议的模型：好的通过，拆掉任何一块都有反例（FAULTS.md 60）。"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.checks import BROKEN, GOOD, SPARE
from tests.model.spin import Check, run
from tests.support.installed import program

# 大的两个；无环又没有停不下来的，公平下自然有着落；少了也不丢的
LONG = {"tasks2-attempts1-faults1", "tasks1-relays2-faults2", "tasks1-faults1-liveness"} | {one.name for one in SPARE}


@pytest.fixture(autouse=True)
def _spin() -> None:
    program("spin", since=(6, 5), asking="-V")
    program("gcc")


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, marks=[pytest.mark.long] * (check.name in LONG), id=check.name) for check in (*GOOD, *SPARE)],
)
def test_protocol_holds(check: Check, tmp_path: Path) -> None:
    report = run(check, tmp_path)
    assert report.violated is None
    assert report.complete


@pytest.mark.rigs
@pytest.mark.parametrize("check", BROKEN, ids=lambda check: check.name)
def test_broken_protocol_has_a_counterexample(check: Check, tmp_path: Path) -> None:
    report = run(check, tmp_path)
    assert check.violates is not None
    assert check.violates in (report.violated or "没有反例")
