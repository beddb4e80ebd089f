"""对照：不掷骰子的一队，间隔是我们的平均或是零；须判为齐步、一拥而上（`make failover`）。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.database import checked_pool
from tests.support.postgres_fleet import restarted

if TYPE_CHECKING:
    import pytest


def always_the_mean(low: float, high: float) -> float:
    return (low + high) / 2


def never_waiting(_low: float, _high: float) -> float:
    return 0.0


async def test_a_fleet_of_pools_that_waits_for_a_fixed_time_is_condemned(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_pool, "jitter", always_the_mean)
    seen = await restarted(environ)
    assert seen.in_step, seen


async def test_a_fleet_of_pools_that_does_not_wait_is_condemned(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked_pool, "jitter", never_waiting)
    seen = await restarted(environ)
    assert seen.at_once, seen
