"""瀑布图的排版，与它的样式对得上。"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

from kaguan.telemetry.waterfall import MAX_DEPTH, PALETTE, WIDTH, lay_out


@dataclass(frozen=True, slots=True)
class Drawn:
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    service: str = "kaguan-api"


def test_parents_come_first_siblings_by_start_and_a_circle_is_not_lost() -> None:
    spans = [
        Drawn("late", "root", 60, 100),
        Drawn("early", "root", 10, 20),
        Drawn("leaf", "late", 70, 71),
        Drawn("root", "elsewhere", 0, 100),
        Drawn("a", "b", 30, 31),
        Drawn("b", "a", 30, 31),
    ]
    view = lay_out(spans, 10)
    assert [(row.span.span_id, row.depth) for row in view.rows][:4] == [
        ("root", 0),
        ("early", 1),
        ("late", 1),
        ("leaf", 2),
    ]
    assert {row.span.span_id for row in view.rows} == {span.span_id for span in spans}


def test_what_does_not_fit_is_counted_and_every_bar_lies_inside() -> None:
    view = lay_out([Drawn(str(number), "", number, number) for number in range(9)], 4)
    assert (len(view.rows), view.hidden, view.duration_ns) == (4, 5, 8)
    assert all(row.x >= 0 and row.x + row.width <= WIDTH for row in view.rows)


def test_the_style_sheet_has_every_indent_and_every_colour() -> None:
    style = (files("kaguan.telemetry") / "waterfall.css").read_text("utf-8")
    assert set(re.findall(r"\.(d\d+) \{", style)) == {f"d{depth}" for depth in range(1, MAX_DEPTH + 1)}
    assert set(re.findall(r"\.(c\d+) \{", style)) == {f"c{color}" for color in range(PALETTE)}
