"""一拥而上怎样数：停顿把错开的挤到一处，不算；真的同一刻来的，算。"""

from __future__ import annotations

from tests.support.crowding import crowd

TICKS = [number / 100 for number in range(500)]


def test_those_that_come_spread_out_are_few_in_any_step() -> None:
    assert 9 <= crowd([number / 100 for number in range(400)], TICKS, 0.1) <= 11


def test_those_that_come_at_once_are_many() -> None:
    assert crowd([2.005] * 100, TICKS, 0.1) > 80


def test_those_that_come_at_once_and_last_are_many_too() -> None:
    assert crowd([number / 100 for number in range(400)] + [TICKS[-1] - 0.01] * 100, TICKS, 0.1) > 80
    assert crowd([TICKS[-1] + 0.001] * 100, TICKS, 0.1) > 80


def test_those_that_a_pause_of_the_machine_has_heaped_up_are_spread_over_the_pause() -> None:
    awake = [tick for tick in TICKS if not 1 < tick < 3]
    heaped = [number / 100 for number in range(100)] + [3.001] * 200 + [number / 100 for number in range(301, 400)]
    assert crowd(heaped, awake, 0.1) <= 11
    assert crowd([TICKS[-1] + 2] * 200, TICKS, 0.1) <= 11
    assert crowd([], TICKS, 0.1) == 0
