"""比值与结论的算法。"""

from __future__ import annotations

import pytest

from tests.bench.comparison import MeasureError, Target, alternate, interleave, ratio


async def test_rounds_alternate_between_the_two_sides() -> None:
    calls: list[str] = []

    async def side(name: str, figure: float) -> float:
        calls.append(name)
        return figure

    figures = await alternate(2, lambda: side("ours", 2.0), lambda: side("rival", 1.0))
    assert calls == ["ours", "rival", "ours", "rival"]
    assert figures == ([2.0, 2.0], [1.0, 1.0])


async def test_a_side_that_fails_drops_out_and_the_others_go_on() -> None:
    async def works() -> float:
        return 1.0

    async def fails() -> float:
        raise MeasureError("没做完")

    failures: dict[str, str] = {}
    figures = await interleave(2, {"bad": fails, "good": works}, failures)
    assert (figures, failures) == ({"bad": [], "good": [1.0, 1.0]}, {"bad": "没做完"})
    with pytest.raises(MeasureError):
        await interleave(1, {"bad": fails})


def test_the_value_is_the_ratio_of_medians_and_the_spread_is_per_round() -> None:
    result = ratio(1, "x", [100, 300, 200], [100, 100, 400], "行/秒", Target(0.6, 1.0))
    assert result.value == 2.0
    assert result.spread == (0.5, 3.0)


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (Target(0.6, 1.0), 1.0, "达到目标"),
        (Target(0.6, 1.0), 0.7, "过底线，未到目标"),
        (Target(0.6, 1.0), 0.5, "未过底线"),
        (Target(200, 20, higher_is_better=False), 19.0, "达到目标"),
        (Target(200, 20, higher_is_better=False), 100.0, "过底线，未到目标"),
        (Target(200, 20, higher_is_better=False), 201.0, "未过底线"),
        (Target(), 0.1, "没有定目标"),
        (Target(None, 1.2, higher_is_better=False), 1.2, "达到目标"),
        (Target(None, 1.2, higher_is_better=False), 1.3, "未到目标"),
    ],
)
def test_the_verdict_follows_floor_and_aim(target: Target, value: float, verdict: str) -> None:
    assert target.verdict(value) == verdict
