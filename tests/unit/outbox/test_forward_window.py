"""交出窗口：眼下做得过来几个，与投递数的封顶，各管各的。"""

from __future__ import annotations

import pytest

from kaguan.outbox.deliver.forward import Window

PLENTY = 1_000


def test_deliveries_are_capped_however_many_tasks_would_fit() -> None:
    window = Window(most=5, least=100)
    assert window.room(PLENTY) == 5
    window.handed([1] * 5)
    assert window.room(PLENTY) == 0
    window.seen(2)  # 做掉三个
    assert window.room(PLENTY) == 3


def test_tasks_are_capped_however_few_deliveries_carry_them() -> None:
    window = Window(most=1_000, least=100)
    window.handed([60, 30])
    assert window.room(PLENTY) == 10
    window.seen(1)  # 先交的先做掉
    assert window.room(PLENTY) == 70


def test_a_queue_found_empty_while_work_waits_widens_the_window_and_one_that_is_not_narrows_it() -> None:
    """放着的多，别人的一个就等得久：只要不空，就慢慢收。"""
    window = Window(most=1_000, least=100, pressed=True)
    window.seen(0)
    assert window.room(PLENTY) == 150
    window.handed([50, 30])
    window.seen(1)  # 头一个做掉了，还有一个
    assert window.room(PLENTY) == 142 - 30
    for _ in range(20):
        window.seen(1)
    assert window.room(PLENTY) == 100 - 30


def test_a_window_that_holds_nothing_back_stays_as_it_is() -> None:
    window = Window(most=1_000, least=100)
    window.seen(0)
    window.handed([50])
    window.seen(1)
    assert window.room(PLENTY) == 50


def test_after_an_unknown_hand_over_nothing_goes_out_before_redis_was_looked_at() -> None:
    window = Window(most=5, least=100)
    window.forget()
    assert window.room(PLENTY) == 0
    window.seen(0)
    assert window.room(PLENTY) == 5


def test_deliveries_of_another_relay_take_their_room() -> None:
    window = Window(most=5, least=100)
    window.seen(4)
    assert window.room(PLENTY) == 1


def test_a_full_window_is_not_refilled_one_by_one_but_an_empty_or_a_small_one_always_is() -> None:
    window = Window(most=1_000, least=100, pressed=True)
    window.handed([1] * 100)
    window.seen(89)
    assert (window.room(300), window.worth(300)) == (11, 0)
    window.seen(88)
    assert window.worth(300) == 12
    window.seen(0)
    assert window.worth(8) == 8
    few = Window(most=5, least=100, pressed=True)
    few.handed([1] * 5)
    few.seen(4)
    assert few.worth(300) == 1
    calm = Window(most=1_000, least=100)
    calm.handed([1] * 99)
    assert calm.worth(300) == 1


@pytest.mark.parametrize("least", [1, 2, 100])
@pytest.mark.parametrize("tasks", [1, 16, 506, 1_139, 5_000])
def test_however_far_it_has_grown_it_is_looked_at_while_full_and_filled_once_empty(least: int, tasks: int) -> None:
    for held in range(1, max(least, tasks) + 1, max(1, tasks // 500)):
        window = Window(most=2_000, least=least, pressed=True)
        window.tasks = max(least, tasks)
        window.handed([1] * held)
        if not window.is_roomy(300):
            assert window.seen(0)
            assert window.worth(300) > 0
