"""守没守住，判得对；写得出。"""

from __future__ import annotations

import math
import re

import pytest

from tests.checklist.__main__ import ROWS
from tests.checklist.figures import Bound, Figure, document, percentile
from tests.checklist.played import PLAYED, read
from tests.support.repository import ROOT, functions_of

REPORT = """<testsuites><testsuite><testcase classname="a" name="b"><properties>
<property name="闲着" value="0.5"/></properties></testcase>{}</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("bound", "value", "held"),
    [
        (Bound(" 秒", most=3.5), 3.5, True),
        (Bound(" 秒", most=3.5), 3.51, False),
        (Bound(" 个", least=1_000), 999, False),
        (Bound(" 个", least=1_000), 1_000, True),
        (Bound(" 毫秒", under=100), 100, False),
        (Bound(" 毫秒", under=100), 99, True),
        (Bound(" 秒", most=3.5), math.nan, False),
    ],
)
def test_a_figure_is_held_within_its_bound_only(bound: Bound, value: float, *, held: bool) -> None:
    assert Figure(21, "最久", value, bound).held is held


def test_the_table_is_in_the_order_of_the_rows_and_says_what_was_not_held() -> None:
    seconds = Bound(" 秒", most=5)
    lines = document([Figure(15, "b", 6, seconds), Figure(6, "a", math.nan, seconds)], "哪里").splitlines()
    assert lines[-2:] == ["| **6** | a | ≤ 5 秒 | 没有量成 | **否** |", "| **15** | b | ≤ 5 秒 | 6 秒 | **否** |"]


def test_the_percentile_is_a_value_that_was_there() -> None:
    assert [percentile([3, 1, 2, 4], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 2, 4, 4]


def test_what_the_cases_recorded_is_read_and_a_failed_case_is_not_passed_over() -> None:
    assert read(REPORT.format("")) == ({"闲着": 0.5}, 0)
    assert read(REPORT.format('<testcase classname="a" name="c"><failure/></testcase>')) == ({"闲着": 0.5}, 1)


def test_the_cases_that_are_played_exist() -> None:
    for played in PLAYED.values():
        for path, _, name in (case.partition("::") for case in played.cases):
            assert name in functions_of(path)


def test_the_document_names_the_rows_that_are_measured() -> None:
    named = re.search(r"足尺寸地量的是这些行：([\d、]+)", (ROOT / "docs" / "ledgers" / "FAULTS.md").read_text("utf-8"))
    assert named is not None
    assert [int(row) for row in named[1].split("、")] == ROWS
