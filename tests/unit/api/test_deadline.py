"""请求的时限：到时即 2004；别人的取消不算到时；没有请求时钟不走。"""

from __future__ import annotations

import asyncio
import time

import pytest

from api.http.middleware.deadline import Deadlines
from kaguan.words.errors import Code, DomainError
from tests.support.eventually import eventually

FOREVER = 60.0


def fast(seconds: float) -> Deadlines:
    return Deadlines(seconds, tick=0.001, grace=0.01)


async def wait_under(deadlines: Deadlines, seconds: float = FOREVER) -> None:
    with deadlines.limit():
        await asyncio.sleep(seconds)


async def test_a_request_in_time_is_left_alone() -> None:
    await wait_under(fast(FOREVER), 0)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_late_request_is_cancelled_and_told_so() -> None:
    with pytest.raises(DomainError) as caught:
        await wait_under(fast(0.01))
    assert caught.value.code is Code.TIMED_OUT
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_only_the_late_one_of_many_is_cancelled() -> None:
    late, others = fast(0.01), fast(FOREVER)
    waiting = asyncio.create_task(wait_under(others))
    with pytest.raises(DomainError):
        await wait_under(late)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_cancel_from_elsewhere_stays_a_cancel() -> None:
    task = asyncio.create_task(wait_under(fast(FOREVER)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancel_from_elsewhere_wins_over_the_deadline() -> None:
    reached = asyncio.Event()

    async def stubborn() -> None:
        with Deadlines(0.01, tick=0.001, grace=FOREVER).limit():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                reached.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_handler_stuck_in_its_cancellation_is_cancelled_a_second_time() -> None:
    cancels = 0

    async def stuck() -> None:
        nonlocal cancels
        with fast(0.01).limit():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels += 1
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancels += 1
                raise

    with pytest.raises(DomainError) as caught:
        await stuck()
    assert (cancels, caught.value.code) == (2, Code.TIMED_OUT)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_more_time_counts_from_now() -> None:
    deadlines = fast(0.01)
    with deadlines.limit() as limit:
        first = limit.until
        limit.allow(FOREVER)
        await eventually(lambda: time.monotonic() > first)
        deadlines.tick()
        assert not limit.cancels


async def test_less_time_counts_from_now() -> None:
    async def shortened() -> None:
        with fast(FOREVER).limit() as limit:
            limit.allow(0.01)
            await asyncio.Event().wait()

    with pytest.raises(DomainError):
        await shortened()


async def test_another_error_of_a_late_request_is_kept() -> None:
    async def failing() -> None:
        with fast(0.01).limit():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("own") from None

    with pytest.raises(ValueError, match="own"):
        await failing()
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_the_clock_stands_still_without_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = fast(FOREVER)
    await wait_under(deadlines, 0)
    await eventually(lambda: not deadlines.ticking)
    later: list[object] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *arguments: later.append(arguments))
    with deadlines.limit():
        pass
    assert len(later) == 1
