"""恢复用时怎么算：伪造的样本，答案是手算的。"""

from __future__ import annotations

import pytest

from tests.chaos.evidence import TaskFact
from tests.chaos.faults import Struck
from tests.chaos.recovery import HORIZON, recoveries, rows
from tests.chaos.watch import Sample


def samples(*ages: float | None, start: float = 100.0) -> list[Sample]:
    """每秒一个样本。"""
    return [Sample(start + number, age) for number, age in enumerate(ages)]


def task(created: float, finished: float) -> TaskFact:
    return TaskFact("t", "email:send", "succeeded", 1, "m", "", created, finished, finished)


def test_a_consequence_that_shows_late_still_counts() -> None:
    struck = [Struck("SIGKILL worker", 100.0, 100.0)]
    (found,) = recoveries(struck, [], samples(0.1, 0.1, 2.1, 3.1, 0.2, 0.1, 0.1, 0.1), [])
    assert found.fresh == pytest.approx(4.0)
    assert found.alone


def test_an_unreachable_database_is_not_fresh_and_no_end_is_none() -> None:
    struck = [Struck("PostgreSQL fast 重启", 99.0, 100.0)]
    assert recoveries(struck, [], samples(None, None, 0.1, 0.1), [])[0].fresh == pytest.approx(2.0)
    assert recoveries(struck, [], samples(0.1, 5.0, 6.0), [])[0].fresh is None


def test_trouble_that_begins_after_the_horizon_is_not_its_fault() -> None:
    quiet = [0.1] * int(HORIZON + 2)
    (found,) = recoveries([Struck("FLUSHALL", 100.0, 100.0)], [], samples(*quiet, 9.0, 9.0, 0.1), [])
    assert found.fresh == 0.0


def test_first_effect_is_of_a_task_accepted_after_the_strike() -> None:
    struck = [Struck("FLUSHALL", 100.0, 101.0)]
    tasks = [task(99.0, 101.2), task(100.5, 104.0), task(102.0, 103.5)]
    assert recoveries(struck, tasks, samples(0.1), [])[0].first_effect == pytest.approx(2.5)
    assert recoveries(struck, [task(100.1, 100.4)], samples(0.1), [])[0].first_effect == 0.0
    assert recoveries(struck, [], samples(0.1), [])[0].first_effect is None


def test_overlapping_strikes_are_counted_but_not_timed() -> None:
    struck = [Struck("FLUSHALL", 100.0, 100.0), Struck("CLIENT KILL", 101.0, 101.0, missed="OSError")]
    found = recoveries(struck, [], samples(3.0, 3.0, 3.0, 0.1), [(100.5, "queue_forgot"), (103.0, "lease_expired")])
    assert [recovery.alone for recovery in found] == [False, False]
    by_kind = {row.kind: row for row in rows(found)}
    assert by_kind["FLUSHALL"].fresh is None
    assert (by_kind["FLUSHALL"].redriven, by_kind["CLIENT KILL"].redriven) == (1, 1)
    assert by_kind["CLIENT KILL"].missed == 1
