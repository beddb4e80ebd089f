"""docs/ledgers/REQUIREMENTS.md：121 行一行不缺，写着的文件、用例都在，没有全做到的写明差在哪里。"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from tests.support.repository import ROOT, functions_of

ROWS = 121
STATES = ("做到", "另一种做法", "部分")
TABLE = ROOT / "docs" / "ledgers" / "REQUIREMENTS.md"
BENCHMARKS = ROOT / "docs" / "evidence" / "BENCHMARKS.md"
LATENCY = re.compile(r"^\| 3 \| 受理的 (P9[59])[^|]*\| \*\*([\d.]+) ms\*\*", re.MULTILINE)
ASKED = {"P95": 200, "P99": 500}  # 毫秒：T090
ROW = re.compile(r"^\| T(\d{3}) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.*?) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
QUOTED = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    state: str
    where: str
    shown_by: str
    note: str


def rows(text: str) -> list[Row]:
    return [
        Row(int(number), state, where, shown_by, note) for number, _, state, where, shown_by, note in ROW.findall(text)
    ]


def faults(row: Row) -> list[str]:
    """这一行写的与仓库里的不符之处。"""
    found = [f"没有 {name}" for name in QUOTED.findall(row.where) if not (ROOT / name).exists()]
    found += [f"没有 {path}::{name}" for path, name in TEST.findall(row.shown_by) if name not in functions_of(path)]
    if not QUOTED.search(row.where):
        found.append("没有说在哪里")
    if not QUOTED.search(row.shown_by) and row.state == "做到":
        found.append("没有能跑的证明")
    if row.state not in STATES or (row.state != "做到" and len(row.note) <= 2):
        found.append("没有说差在哪里")
    return found


def test_every_row_is_there_once() -> None:
    assert [row.number for row in rows(TABLE.read_text("utf-8"))] == list(range(1, ROWS + 1))


def test_every_row_says_what_is_true() -> None:
    wrong = {f"T{row.number:03d}": faults(row) for row in rows(TABLE.read_text("utf-8"))}
    assert {row: found for row, found in wrong.items() if found} == {}


def test_a_false_row_is_noticed() -> None:
    planted = Row(1, "做到", "`src/nowhere.py`", "`tests/unit/words/test_errors.py::test_nothing`", "")
    assert len(faults(planted)) == 2
    assert faults(Row(1, "部分", "`src`", "审阅", "")) == ["没有说差在哪里"]
    assert faults(Row(1, "做到", "`src`", "审阅", "")) == ["没有能跑的证明"]


def test_the_latencies_measured_are_within_what_was_asked() -> None:
    measured = dict(LATENCY.findall(BENCHMARKS.read_text("utf-8")))
    assert measured.keys() == ASKED.keys()
    assert {name: value for name, value in measured.items() if float(value) >= ASKED[name]} == {}


def test_the_summary_counts_what_is_in_the_table() -> None:
    text = TABLE.read_text("utf-8")
    counts = Counter(row.state for row in rows(text))
    assert f"此刻：{'，'.join(f'{state} {counts[state]}' for state in STATES)}，没有做的 0。" in text
    partly = "、".join(f"T{row.number:03d}" for row in rows(text) if row.state == "部分")
    assert (f"「部分」的：{partly}。" in text) == bool(partly)
