"""断路器：什么作数、什么不作数。放行一个、放行许多的见 ``tests/contracts/test_carriers_guards.py``。"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from kaguan.breakers.breaker import CLOSED, HALF_OPENED, OPENED, Breaker, BreakerStatus
from tests.support.eventually import eventually


class SickError(Exception):
    pass


class RefusedError(Exception):
    pass


def breaker(threshold: int, cooldown: float) -> Breaker:
    return Breaker(threshold, cooldown, (SickError,), lambda status, _: RefusedError(status.cause))


def failing(tested: Breaker) -> None:
    with pytest.raises(SickError), tested.guarding():
        raise SickError("病了")


@pytest.mark.parametrize("answered", [True, False])
async def test_a_call_let_through_before_the_breaker_opened_counts_no_more_once_it_closed_again(
    *, answered: bool
) -> None:
    tested, told = breaker(2, 0.01), list[BreakerStatus]()
    tested.watch(told.append)
    late = ExitStack()
    late.enter_context(tested.guarding())
    failing(tested)
    failing(tested)
    assert tested.status.state == OPENED
    await eventually(lambda: tested.status.state == HALF_OPENED)
    with tested.guarding():
        pass
    failing(tested)
    if answered:
        late.close()
        failing(tested)
        assert tested.status.state == OPENED, "迟来的应答不抵消后来的失败"
    else:
        error = SickError("从前的事")
        with pytest.raises(SickError), late:
            raise error
        assert tested.status.state == CLOSED, "迟来的失败不凑后来的数"
    assert [status.state for status in told[:4]] == [CLOSED, OPENED, HALF_OPENED, CLOSED]
