"""写出来的文件：每一行列数相同，没过底线的再列一遍，没有量的照写；一行量不成不连累别的。"""

from __future__ import annotations

import asyncio

from tests.bench.comparison import MeasureError, Missing, Result, Target, figure
from tests.bench.report import document, table
from tests.bench.rows import measured
from tests.bench.scale import SHORT

PASSED = Result(1, "够快的", 2.0, (1.0, 3.0), "2 ÷ 1", Target(1, 3))
MISSED = Result(2, "太慢的", 900.0, (800.0, 1_000.0), "", Target(100, 50, higher_is_better=False), " ms")


def test_every_line_has_as_many_cells() -> None:
    lines = table([PASSED, MISSED, Missing(3, "没跑的", "a | b")]).splitlines()
    assert {line.count("|") for line in lines} == {9}


def test_misses_and_rows_that_were_not_measured_are_named() -> None:
    text = document([MISSED, Missing(3, "没跑的", "时间用完了"), PASSED], [], SHORT, "wrk", "这里")
    misses = text.partition("## 没过底线的")[2].partition("## ")[0]
    assert "太慢的：900 ms" in misses
    assert "够快的" not in misses
    assert "| 3 | 没跑的 | 没有量 |" in text
    assert text.index("够快的") < text.index("太慢的")


def test_a_figure_shows_no_more_than_it_knows() -> None:
    assert [figure(value) for value in (1_234.5, 123.4, 12.34, 1.234)] == ["1,234", "123", "12.3", "1.23"]


async def test_a_row_that_fails_or_runs_late_is_reported_and_the_others_go_on() -> None:
    async def fails() -> list[Result]:
        raise MeasureError("请求失败")

    async def hangs() -> list[Result]:
        await asyncio.Event().wait()
        return []

    async def works() -> list[Result]:
        return [PASSED]

    found = [(await measured(7, each, limit))[0] for each, limit in ((fails, 60), (hangs, 0.01), (works, 60))]
    assert [getattr(result, "why", "") for result in found] == ["请求失败", "这次的时间用完了", ""]
