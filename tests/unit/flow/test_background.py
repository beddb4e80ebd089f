"""后台的活：停得住，死了有声，不拖住等它的人。"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from kaguan.flow.background import beside, in_background, stopped, within
from tests.support.said import capture_logs


async def deaf(times: int, heard: list[int]) -> None:
    """吞掉头 ``times`` 次取消：3.11 的 ``asyncio.wait_for`` 恰逢应答到来时就是这样。"""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append(1)
            if len(heard) > times:
                raise


async def test_work_that_swallows_its_cancellation_is_stopped_all_the_same() -> None:
    heard: list[int] = []
    async with in_background(deaf(1, heard), "deaf"):
        await asyncio.sleep(0)
    assert len(heard) == 2


async def test_the_one_who_leaves_is_told_nothing_but_the_log_is() -> None:
    async def dying() -> None:
        raise LookupError("没有了")

    with capture_logs() as logs:
        async with in_background(dying(), "dying"):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert [(line["event"], line["name"]) for line in logs] == [("后台的活意外停下", "dying")]
    assert len(logs) == 1


async def test_an_error_inside_goes_through_and_the_work_is_stopped() -> None:
    heard: list[int] = []

    async def failing() -> None:
        async with in_background(deaf(0, heard), "deaf"):
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    assert heard == [1]


async def test_what_will_not_stop_is_waited_for_no_longer_than_its_patience() -> None:
    heard: list[int] = []
    task = asyncio.create_task(deaf(1_000, heard), name="stubborn")
    await asyncio.sleep(0)
    with capture_logs() as logs:
        await stopped(task, patience=0.01)
    assert [(line["event"], line["names"]) for line in logs] == [("后台的活停不下来，不再等", ["stubborn"])]
    assert not task.done()
    heard.extend([1] * 1_000)
    await stopped(task)
    assert task.cancelled()


async def test_an_answer_in_time_is_given_and_a_late_one_is_not_waited_for() -> None:
    async def answer() -> int:
        return 7

    done = await within(5.0, answer())
    assert done is not None
    assert done.result() == 7
    heard: list[int] = []
    assert await within(0.01, deaf(1, heard)) is None
    assert heard == []  # 取消了，却没有等它收尾
    await asyncio.sleep(0)
    (left,) = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await stopped(left)


async def until(stop: asyncio.Event, done: list[str]) -> None:
    await stop.wait()
    done.append("stopped")


async def dies() -> None:
    raise LookupError("没有了")


async def test_what_is_left_lets_what_runs_beside_it_end() -> None:
    stop, done = asyncio.Event(), list[str]()
    async with beside(stop, one=partial(until, stop, done), other=partial(until, stop, done)):
        await asyncio.sleep(0)
    assert done == ["stopped", "stopped"]


@pytest.mark.parametrize("own", [KeyError("k"), ExceptionGroup("his own", [OSError()]), KeyboardInterrupt()])
async def test_an_error_inside_comes_out_as_it_was_raised_and_what_runs_beside_it_is_stopped(
    own: BaseException,
) -> None:
    heard: list[int] = []

    async def failing() -> None:
        async with beside(asyncio.Event(), deaf=partial(deaf, 0, heard)):
            await asyncio.sleep(0)
            raise own from ZeroDivisionError()

    with pytest.raises(type(own)) as raised:
        await failing()
    assert raised.value is own
    assert isinstance(own.__cause__, ZeroDivisionError)
    assert (own.__context__, heard) == (None, [1])


async def test_what_dies_beside_it_ends_what_is_done_inside_and_is_named() -> None:
    ended = list[str]()

    async def forever() -> None:
        async with beside(asyncio.Event(), relay=dies):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("inside")
                raise

    with pytest.raises(LookupError, match="没有了") as raised:
        await forever()
    assert ended == ["inside"]
    assert raised.value.__notes__[0].startswith("relay has stopped")


async def test_both_errors_are_told_of_when_there_are_two() -> None:
    async def untidy() -> None:
        async with beside(asyncio.Event(), relay=dies):
            try:
                await asyncio.Event().wait()
            finally:
                raise KeyError("k")

    with pytest.raises(ExceptionGroup) as raised:
        await untidy()
    assert [type(error) for error in raised.value.exceptions] == [LookupError, KeyError]


async def test_who_is_cancelled_inside_is_cancelled_and_so_is_what_runs_beside_it() -> None:
    heard: list[int] = []

    async def forever() -> None:
        async with beside(asyncio.Event(), deaf=partial(deaf, 0, heard)):
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (task.cancelled(), heard) == (True, [1])
