"""槽位：闲着的谁都能用，抢的时候 6 : 3 : 1；取来的不多于做得过来的。"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import pytest

from kaguan.config.model import Worker
from kaguan.outbox.vocabulary import Priority, split_slots
from kaguan.outbox.work.intake import AT_HAND, EMPTY_AFTER, SOON, Slots
from tests.support.eventually import PATIENCE

CRITICAL, DEFAULT, LOW = Priority
WEIGHTS = Worker().weights
WORK, STRIDE = 50, 37  # 事件循环转这么多圈，长短不一：比取件慢得多，槽位才一个一个地空出来


@pytest.mark.parametrize(
    ("concurrency", "weights", "slots"),
    [
        (20, WEIGHTS, (12, 6, 2)),
        (10, WEIGHTS, (6, 3, 1)),
        (3, WEIGHTS, (1, 1, 1)),
        (4, WEIGHTS, (2, 1, 1)),
        (25, WEIGHTS, (16, 7, 2)),
        (100, WEIGHTS, (60, 30, 10)),
        (10, (1, 1, 1), (4, 3, 3)),
        (3, (1, 1_000, 1), (1, 1, 1)),
        (10, (1, 8, 1), (1, 8, 1)),
    ],
)
def test_slots_follow_the_weights_and_add_up(
    concurrency: int, weights: tuple[int, int, int], slots: tuple[int, int, int]
) -> None:
    assert split_slots(concurrency, weights) == dict(zip(Priority, slots, strict=True))


@dataclass(slots=True)
class Machine:
    """一个进程：每个队列一处在取，取来的任务各等 ``gate``；空的队列一直等。"""

    slots: Slots
    queues: dict[Priority, deque[int]]  # 各投递带着几个任务
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    running: Counter[Priority] = field(default_factory=Counter)
    started: list[Priority] = field(default_factory=list)
    fetched: Counter[Priority] = field(default_factory=Counter)
    taken: int = 0  # 取来的任务
    ahead: list[int] = field(default_factory=list)  # 每次取到时，先前取来的还有几个没有开始
    arrived: dict[Priority, asyncio.Event] = field(
        default_factory=lambda: {queue: asyncio.Event() for queue in Priority}
    )
    working: set[asyncio.Task[None]] = field(default_factory=set)

    def fetch(self, queue: Priority) -> None:
        """再去取一次；取到了就再来。"""
        self.working.add(asyncio.create_task(self._delivery(queue)))

    async def _delivery(self, queue: Priority) -> None:
        fetching = self.slots.fetch(queue)
        try:
            await fetching.granted.wait()
            while not self.queues[queue]:
                self.arrived[queue].clear()
                await self.arrived[queue].wait()
            count = self.queues[queue].popleft()
            self.ahead.append(self.taken - len(self.started))
            self.taken += count
            fetching.got(count)
            self.fetched[queue] += 1
        finally:
            fetching.close()
        self.fetch(queue)
        await asyncio.gather(*(self._task(queue) for _ in range(count)))

    async def _task(self, queue: Priority) -> None:
        async with self.slots.running(queue, "noop"):
            self.running[queue] += 1
            self.started.append(queue)
            await self.gate.wait()
            await self.settle(WORK + len(self.started) * STRIDE % WORK)
            self.running[queue] -= 1

    async def given_up(self) -> None:
        """等到空的队列不再算数。"""
        async with asyncio.timeout(PATIENCE):
            while self.running.total() < self.slots.total:  # noqa: ASYNC110 槽位不出声，只能看
                await asyncio.sleep(EMPTY_AFTER)
        await self.settle()

    async def settle(self, turns: int = 400) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)


@asynccontextmanager
async def machine(total: int, **queues: Sequence[int]) -> AsyncIterator[Machine]:
    opened = Machine(Slots(total, WEIGHTS), {queue: deque(queues.get(queue, ())) for queue in Priority})
    for queue in Priority:
        opened.fetch(queue)
    await opened.settle()
    try:
        yield opened
    finally:
        for task in opened.working:
            task.cancel()
        await asyncio.gather(*opened.working, return_exceptions=True)


async def test_one_busy_queue_uses_every_slot() -> None:
    async with machine(10, low=[1] * 40) as opened:
        await opened.given_up()
        assert opened.running == {LOW: 10}
        assert opened.fetched[LOW] == 10  # 取来的都在做：没有一个在手里干等


async def test_competing_queues_share_six_three_one() -> None:
    async with machine(10, critical=[1] * 400, default=[1] * 400, low=[1] * 400) as opened:
        opened.gate.set()
        await opened.settle(6_000)
        shares = Counter(opened.started[20:220])
        assert (shares[CRITICAL], shares[DEFAULT], shares[LOW]) == pytest.approx((120, 60, 20), abs=8)


async def test_shared_deliveries_count_by_their_tasks() -> None:
    async with machine(10, critical=[10] * 60, default=[10] * 60, low=[10] * 60) as opened:
        opened.gate.set()
        await opened.settle(6_000)
        shares = Counter(opened.started[20:420])
        assert (shares[CRITICAL], shares[DEFAULT], shares[LOW]) == pytest.approx((240, 120, 40), abs=30)


async def test_no_more_is_fetched_than_can_start() -> None:
    async with machine(4, default=[6, 6, 6]) as opened:
        await opened.given_up()
        assert opened.running == {DEFAULT: 4}
        assert opened.fetched == {DEFAULT: 1}
        opened.gate.set()
        await opened.settle()
        assert len(opened.started) == 18


async def test_quick_work_is_fetched_while_the_last_of_it_waits_for_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """认领是一个来回：等手里的都开始了再去，槽位就空着等它。钟不走：做得多快，与机器无关。"""
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", partial(float, loop.time()))
    async with machine(4, default=[30] * 40) as opened:
        opened.gate.set()
        async with asyncio.timeout(PATIENCE):
            while len(opened.started) < 40 * 30:
                await opened.settle()
        assert opened.ahead[0] == 0
        assert 4 < max(opened.ahead) <= AT_HAND


async def test_nothing_is_fetched_ahead_while_slow_work_holds_every_slot() -> None:
    async with machine(4, default=[1] * 40) as opened:
        opened.gate.set()
        async with asyncio.timeout(PATIENCE):
            while len(opened.started) < 40:
                await opened.settle()
            while opened.running.total():
                await opened.settle()
        opened.gate.clear()
        clock = asyncio.get_running_loop().time
        since = clock()
        while clock() - since <= SOON:  # 快的都做完有一会儿了
            await opened.settle()
        opened.queues[DEFAULT].extend([6, 6, 6])
        opened.arrived[DEFAULT].set()
        await opened.given_up()
        assert opened.running[DEFAULT] == 4
        assert opened.fetched[DEFAULT] == 41


async def test_what_was_fetched_ahead_never_runs_beyond_the_slots() -> None:
    async with machine(4, default=[30] * 8) as opened:
        most = 0
        opened.gate.set()
        async with asyncio.timeout(PATIENCE):
            while len(opened.started) < 8 * 30:
                await asyncio.sleep(0)  # 一圈一看
                most = max(most, opened.running.total())
        assert 0 < most <= 4  # 一圈一看，四个都在做的那一圈未必看得到


async def test_a_queue_that_was_empty_starts_at_once_beside_slow_work() -> None:
    async with machine(3, low=[1] * 9) as opened:
        await opened.given_up()
        assert opened.running == {LOW: 3}
        opened.queues[CRITICAL].append(1)
        opened.arrived[CRITICAL].set()
        await opened.settle()
        assert opened.running == {LOW: 3, CRITICAL: 1}


async def test_tasks_that_others_had_done_do_not_hold_slots() -> None:
    slots = Slots(3, WEIGHTS)

    async def duplicate() -> None:
        fetching = slots.fetch(DEFAULT)
        await fetching.granted.wait()
        fetching.got(5)
        fetching.close()

    for _ in range(3):
        await asyncio.wait_for(asyncio.create_task(duplicate()), PATIENCE)


async def test_slots_are_kept_free_for_each_more_urgent_queue() -> None:
    """low 闲着的都借得去，除了给 critical、default 各留的；它们来了活，当场开始。"""
    slots = Slots(10, WEIGHTS, reserve=2)
    async with AsyncExitStack() as stack:
        for queue, count in ((LOW, 6), (DEFAULT, 2), (CRITICAL, 2)):
            for _ in range(count):
                await asyncio.wait_for(stack.enter_async_context(slots.running(queue, "noop")), PATIENCE)
            blocked = asyncio.create_task(stack.enter_async_context(slots.running(queue, "noop")))
            await asyncio.sleep(0)
            assert not blocked.done()
            blocked.cancel()
            with suppress(asyncio.CancelledError):
                await blocked
