"""槽位的分法：6 : 3 : 1，一个不多、一个不少，谁也不为零。"""

from __future__ import annotations

import pytest

from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.worker.consumer import split_slots


@pytest.mark.parametrize(
    ("concurrency", "slots"),
    [(20, (12, 6, 2)), (10, (6, 3, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (25, (16, 7, 2)), (100, (60, 30, 10))],
)
def test_slots_follow_the_weights_and_add_up(concurrency: int, slots: tuple[int, int, int]) -> None:
    assert split_slots(concurrency) == dict(zip(Priority, slots, strict=True))
