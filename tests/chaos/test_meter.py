"""量的是真的进程；水位随配置；头尾各取中位。"""

from __future__ import annotations

import os
import sys

import pytest

from tests.chaos.meter import Reading, depth_bounds, growth, resident
from tests.chaos.stage import Cast


@pytest.mark.skipif(sys.platform != "linux", reason="只有 Linux 有 /proc")
def test_this_process_occupies_memory_and_a_missing_one_none() -> None:
    assert resident(os.getpid()) > 10
    assert resident(2**22 + 1) == 0.0


def test_growth_compares_the_start_with_the_end() -> None:
    readings = [Reading(share, 0, {"api-0": 50 + 100 * share}) for share in (0.01, 0.1, 0.5, 0.99, 1.0)]
    readings.append(Reading(1.0, 0, {"relay-0": 60.0}))
    found = growth(readings)
    assert list(found) == ["api-0"]
    assert found["api-0"] == pytest.approx((60.0, 149.5))


def test_the_bound_follows_the_configuration() -> None:
    assert depth_bounds(Cast(relays=2, pace={"KAGUAN_RELAY__HIGH_WATER": "50"})) == (50, 600)
