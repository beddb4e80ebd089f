"""名额：马上轮到的等一等，轮不到的让位；叫回来的先于新来的，急的另有名额。"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import pytest

from kaguan.outbox.task_type import Effect, Payload, TaskType, TaskTypes
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.intake import Slots
from kaguan.outbox.work.places import Gates, NoPlaceError, Seat
from tests.support.eventually import PATIENCE

CRITICAL, DEFAULT, LOW = Priority
ASK = TaskType("carrier:ask", Payload, Effect.REPEATABLE, resources={"carrier": 2})
SEND = TaskType("mail:send", Payload, Effect.REPEATABLE, limit=1)
PLAIN = TaskType("page:show", Payload, Effect.REPEATABLE)


@pytest.fixture
async def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """钟不走：停顿多久，都是马上轮到的。"""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", partial(float, loop.time()))


def seats(*queues: Priority, gates: Gates, slots: Slots, called: bool = False) -> list[Seat]:
    return [Seat(slots, gates, queue, ASK.name, called) for queue in queues]


async def test_an_urgent_task_finds_a_place_though_others_hold_them_all() -> None:
    gates, slots = Gates([ASK], {}), Slots(20, (6, 3, 1))
    async with AsyncExitStack() as stack:
        for seat in seats(LOW, LOW, DEFAULT, CRITICAL, gates=gates, slots=slots):
            await stack.enter_async_context(seat.taken())
            await asyncio.wait_for(stack.enter_async_context(seat.place("carrier")), PATIENCE)
        (late,) = seats(LOW, gates=gates, slots=slots)
        with pytest.raises(NoPlaceError) as refusal:
            async with late.taken(), late.place("carrier"):
                pass
        assert refusal.value.place == "carrier/carrier:ask"
        assert gates.rooms(crowded=True) == {}
    assert gates.rooms(crowded=True) == {"carrier/carrier:ask": 2}


async def test_who_was_called_back_comes_before_newcomers() -> None:
    """推走过一个之后，新来的也去 PostgreSQL 里等；叫回来的才进得来，没有别的在等了才又放新来的。"""
    gates, slots = Gates([ASK], {}), Slots(20, (6, 3, 1))
    first, second, late = seats(LOW, LOW, LOW, gates=gates, slots=slots)
    async with AsyncExitStack() as stack:
        for seat in (first, second):
            await stack.enter_async_context(seat.taken())
            await stack.enter_async_context(seat.place("carrier"))
        with pytest.raises(NoPlaceError):
            async with late.taken(), late.place("carrier"):
                pass
    with pytest.raises(NoPlaceError):
        async with late.taken(), late.place("carrier"):
            pass
    (back,) = seats(LOW, gates=gates, slots=slots, called=True)
    async with back.taken(), back.place("carrier"):
        pass
    gates.called({"carrier/carrier:ask": 2}, [("carrier/carrier:ask", 2)])
    async with late.taken(), late.place("carrier"):
        pass


@pytest.mark.usefixtures("frozen")
async def test_a_place_that_is_free_in_a_moment_is_waited_for_without_a_slot() -> None:
    """名额转得快的不让位；等的时候槽位空着。"""
    gates, slots = Gates([SEND], {}), Slots(3, (1, 1, 1))
    holder, waiter = (Seat(slots, gates, LOW, SEND.name) for _ in range(2))
    entered = asyncio.Event()

    async def wait() -> None:
        async with waiter.taken():
            entered.set()

    async with holder.taken():
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert slots.held == {SEND.name: 1}
        assert not entered.is_set()
    await asyncio.wait_for(waiting, PATIENCE)
    assert slots.held == {SEND.name: 0}


@pytest.mark.usefixtures("frozen")
async def test_a_limit_set_at_run_time_lets_the_running_end_and_the_next_in_as_it_says() -> None:
    """少了的，在手里的照做；多了的，等着的当场进来；不再另定，照旧。"""
    gates, slots = Gates([SEND, PLAIN], {}), Slots(20, (6, 3, 1))
    first, second, third = (Seat(slots, gates, LOW, PLAIN.name) for _ in range(3))
    async with AsyncExitStack() as stack:
        for seat in (first, second):
            await stack.enter_async_context(seat.taken())
        gates.resize({PLAIN.name: 2})
        waiting = asyncio.create_task(stack.enter_async_context(third.taken()))
        await asyncio.sleep(0)
        assert slots.held == {PLAIN.name: 2}
        gates.resize({PLAIN.name: 3})
        await asyncio.wait_for(waiting, PATIENCE)
        gates.resize({PLAIN.name: 1})
        assert slots.held == {PLAIN.name: 3}
        assert PLAIN.name not in gates.rooms(crowded=False)
    gates.resize({})
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(Seat(slots, gates, LOW, PLAIN.name).taken())
    assert gates.rooms(crowded=False)[SEND.name] == 1


async def test_outside_the_slot_is_free_for_others_and_taken_again_after() -> None:
    gates, slots = Gates([ASK], {}), Slots(3, (1, 1, 1))
    (seat,) = seats(LOW, gates=gates, slots=slots)
    async with seat.taken():
        async with seat.outside("carrier"):
            assert (slots.held[ASK.name], slots.away[ASK.name, "carrier"]) == (0, 1)
        assert (slots.held[ASK.name], slots.away[ASK.name, "carrier"]) == (1, 0)
    with pytest.raises(asyncio.CancelledError):  # 收场的也还得平
        async with seat.taken(), seat.outside("carrier"):
            raise asyncio.CancelledError
    assert slots.held.total() == slots.away.total() == 0
    for queue in Priority:
        async with AsyncExitStack() as stack:
            await asyncio.wait_for(stack.enter_async_context(slots.running(queue, "noop")), PATIENCE)


def test_of_a_type_with_places_as_many_are_done_side_by_side() -> None:
    """一次投递装几个由它定；没有名额管着的不知道，算一个，不同乘的不在里面。"""
    bounded, free = (
        replace(ASK, shareable=True, limit=80, resources={}),
        replace(ASK, name="free:one", shareable=True, resources={}),
    )
    outside = replace(free, name="out:side", limit=50, resources={"carrier": 20})
    types = TaskTypes([bounded, free, outside, replace(ASK, name="long:one", shareable=False)])
    assert types.abreast == {bounded.name: 80, free.name: 1, outside.name: 20}


async def test_joining_a_queue_that_was_not_declared_is_refused() -> None:
    gates, slots = Gates([ASK], {}), Slots(3, (1, 1, 1))
    (seat,) = seats(LOW, gates=gates, slots=slots)
    async with seat.taken():
        with pytest.raises(LookupError, match="nobody"):
            async with seat.place("nobody"):
                pass


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"resources": {"carrier": 0}}])
def test_a_type_with_no_place_at_all_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="名额"):
        TaskType("a:b", Payload, Effect.REPEATABLE, **wrong)  # type: ignore[arg-type] # 有意写错的
