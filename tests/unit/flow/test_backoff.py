"""退避：区间是 [0, min(cap, base·2^(n-1))]。"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kaguan.flow.backoff import OUTAGE_FLOORS, about, equal_jitter, exponential, full_jitter, outage_wait


def test_ceilings_double_and_stop_at_the_cap() -> None:
    series = [exponential(n, 2.0, 20.0) for n in range(1, 7)]
    assert series == [2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


def test_full_jitter_draws_from_the_whole_range() -> None:
    drawn = [full_jitter(3, 2.0, 20.0) for _ in range(200)]
    assert min(drawn) < 4.0 < max(drawn) <= 8.0


@given(st.integers(1, 10_000), st.floats(0.001, 100), st.floats(0.001, 10_000))
def test_delay_stays_within_bounds_for_any_attempt(attempt: int, base: float, cap: float) -> None:
    assert 0 <= full_jitter(attempt, base, cap) <= cap


@given(st.integers(1, 10_000), st.floats(0.001, 100), st.floats(0.001, 10_000))
def test_equal_jitter_waits_at_least_half_and_at_most_the_ceiling(attempt: int, base: float, cap: float) -> None:
    ceiling = exponential(attempt, base, cap)
    assert ceiling / 2 <= equal_jitter(attempt, base, cap) <= ceiling <= cap


def test_the_floors_rise_and_together_outlive_a_greylist_and_an_outage_of_half_an_hour() -> None:
    waits = [outage_wait(n, 2.0, 1_800.0) for n in range(1, 6)]
    assert all(floor <= wait for floor, wait in zip(OUTAGE_FLOORS, waits, strict=True))
    assert list(OUTAGE_FLOORS) == sorted(OUTAGE_FLOORS)
    assert sum(OUTAGE_FLOORS[:3]) > 300
    assert sum(OUTAGE_FLOORS) > 1_800


@given(st.integers(1, 10_000), st.floats(0.001, 100), st.floats(0.001, 10_000))
def test_an_outage_is_waited_for_no_longer_than_the_cap(attempt: int, base: float, cap: float) -> None:
    assert outage_wait(attempt, base, cap) <= cap


def test_a_beat_that_is_about_so_long_falls_before_and_after() -> None:
    drawn = [about(10.0) for _ in range(200)]
    assert 8.0 <= min(drawn) < 10.0 < max(drawn) <= 12.0
