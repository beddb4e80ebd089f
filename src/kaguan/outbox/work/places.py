"""名额：一种任务、一家外面的，一个进程里同时至多几个在手里。没有名额的回 PostgreSQL 里等，有了再叫回来。

马上就轮到的（不超过 :data:`SOON` 秒）在内存里等，不占槽位；更久的不占着取件的路：让位（不计尝试），写明在等什么，
走了一个就叫一个。叫回来的先于新来的，否则源源不断的新来的会让等着的永远轮不到。越急的队列另多有名额，
别的把名额占满了，它照样当场开始。这里只管几个，快慢由对方的限额管着。
一次尝试的坐席（:class:`Seat`）是名额与槽位：在等外面的时候让出槽位，名额还占着。
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kaguan.database.group_commit import TIMEOUT
from kaguan.database.pool import PASSING_ERRORS, Pool
from kaguan.flow.backoff import about, equal_jitter
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import HIGHEST_AT_ONCE, PAUSED, LimitScope, Priority, PriorityRank
from kaguan.outbox.work import waiting
from kaguan.outbox.work.outcome import Snooze
from kaguan.outbox.work.overrides import Overrides
from kaguan.outbox.work.paused import Outside, PausedOutside
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason, ReasonError

if TYPE_CHECKING:  # 写处理器的用不着取件的一头与 SAQ
    from kaguan.outbox.work.intake import Slots

log = get_logger(__name__)

SOON = 1.0  # 秒：这么快就轮到的才在内存里等
SMOOTHING = 0.3  # 新的一次占这么多
COMING = 2.0  # 秒：叫了而这么久还没有来，也许是别的 worker 接去了
LOOK = 2.0  # 秒：自己没有推走过的，隔这么久也看一眼：别的 worker 推走的、死了的留下的
BREATH = 0.05  # 秒：一遍与一遍至少隔这么久，走了的合在一起叫
FIRST_WAIT, LONGEST_WAIT = 600.0, 3_600.0  # 秒：没有人叫的，头一趟与至多
NEAR = 1.0  # 秒；剩下不到这么久的自己会到点
UNBOUNDED = sys.maxsize  # 只受槽位管着
MOST_CALLED = 100  # 没有名额管着的，一遍至多叫这么多


class NoPlaceError(ReasonError):
    """没有名额，而且不会马上轮到：让位，由叫回来的那次投递接着做。

    Attributes:
        place: 在等的名额，也就是 ``waiting_for``。
    """

    def __init__(self, place: str, whom: str) -> None:
        super().__init__(Reason("outbox.no_place", {"whom": whom}))
        self.place = place


class PausedError(NoPlaceError):
    """那一家停着：让位到暂停结束。"""

    def __init__(self, pause: PausedOutside) -> None:
        ReasonError.__init__(self, Reason("outbox.paused", {"whom": pause.name, "reason": pause.reason}))
        self.place, self.seconds = f"{PAUSED}{pause.id}", pause.seconds


def waiting_for_place(full: NoPlaceError, passes: int) -> Snooze:
    """让位：等着叫，不计尝试；没有人叫的（走的那个没了），一趟比一趟久地自己来看。``passes`` 是已经空跑了几趟。"""
    if isinstance(full, PausedError):
        return Snooze(full.reason, delay=full.seconds, waiting_for=full.place)
    delay = equal_jitter(passes + 1, FIRST_WAIT, LONGEST_WAIT)
    return Snooze(full.reason, delay=delay, waiting_for=full.place)


@dataclass(slots=True, eq=False)
class Gate:
    """一道门；``capacity`` 是最不急的队列此刻有几个名额，急一级多一个；``configured`` 是没有另定的时候。"""

    place: str
    whom: str
    configured: int
    freed: Callable[[], None]
    capacity: int = field(init=False)
    in_hand: int = 0
    crowd: set[PriorityRank] = field(default_factory=set)  # 在 PostgreSQL 里等着的，知道有哪些队列的
    _waiting: deque[tuple[PriorityRank, asyncio.Future[None]]] = field(default_factory=deque)
    _coming: deque[float] = field(default_factory=deque)  # 叫了而还没有来的，各算到何时
    _interval: float = 0.0  # 满着的时候，隔多久走一个
    _since: float = -math.inf  # 上一个何时走的，或何时满的；事件循环的钟

    def __post_init__(self) -> None:
        self.capacity = self.configured

    def resize(self, capacity: int) -> None:
        """名额另定为 ``capacity``：多出来的让等着的进来；少了的，在手里的做完为止。"""
        self.capacity = capacity
        self._since = asyncio.get_running_loop().time()
        self._admit()
        if self.crowd:
            self.freed()

    @asynccontextmanager
    async def entered(self, queue: Priority, *, called: bool, waits: Callable[[], None]) -> AsyncIterator[None]:
        """里面占着一个名额。``called``：等过、叫回来的；``waits`` 在开始等的时候叫。

        Raises:
            NoPlaceError: 没有名额，而且不会马上轮到。
        """
        rank = queue.rank
        if called and self._coming:
            self._coming.popleft()
        if self._fits(rank, called=called):
            self._take()
        else:
            if not self._soon(rank):
                raise self._refusal(rank)
            waits()
            await self._turn(rank)
        try:
            yield
        finally:
            self.leave()

    def room(self) -> int:
        """还可以叫几个回来。"""
        now = asyncio.get_running_loop().time()
        while self._coming and self._coming[0] <= now:
            self._coming.popleft()
        return max(0, min(self.capacity - self.in_hand - self._queued, MOST_CALLED) - len(self._coming))

    def called(self, ranks: Iterable[PriorityRank], asked: int) -> None:
        """叫了 ``asked`` 个，叫到的各在哪个队列；没有叫满就是没有别的在等了。"""
        found = list(ranks)
        until = asyncio.get_running_loop().time() + COMING
        self._coming.extend([until] * len(found))
        if len(found) < asked:
            self.crowd.clear()
        else:
            self.crowd.update(found)

    @property
    def _queued(self) -> int:
        return sum(not turn.done() for _, turn in self._waiting)

    def _places(self, rank: PriorityRank) -> int:
        return self.capacity + PriorityRank.LOW - rank

    def _fits(self, rank: PriorityRank, *, called: bool) -> bool:
        if called:  # 叫的人的名额，别的 worker 接到了也认：叫的总数有数，多不过一倍
            return self.in_hand < 2 * self._places(rank)
        behind = any(other <= rank for other in self.crowd) or any(other <= rank for other, _ in self._waiting)
        return not behind and self.in_hand < self._places(rank)

    def _soon(self, rank: PriorityRank) -> bool:
        """照近来走人的快慢，这就轮得到；一直没有人走的，停了多久就算隔多久。"""
        if any(other <= rank for other in self.crowd):
            return False
        stalled = asyncio.get_running_loop().time() - self._since
        return (self._queued + 1) * max(self._interval, stalled) <= SOON

    async def _turn(self, rank: PriorityRank) -> None:
        turn = asyncio.get_running_loop().create_future()
        entry = (rank, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(SOON):
                await turn
        except BaseException as error:  # 轮到了又取消的，位子让出来
            if turn.done() and not turn.cancelled():
                self.leave()
            if isinstance(error, TimeoutError):
                raise self._refusal(rank) from None
            raise
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def _refusal(self, rank: PriorityRank) -> NoPlaceError:
        self.crowd.add(rank)
        return NoPlaceError(self.place, self.whom)

    def _take(self) -> None:
        self.in_hand += 1
        if self.in_hand == self.capacity:
            self._since = asyncio.get_running_loop().time()

    def leave(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.in_hand >= self.capacity:
            sample = now - self._since
            self._interval = sample if self._interval == 0.0 else self._interval + SMOOTHING * (sample - self._interval)
            self._since = now
        self.in_hand -= 1
        self._admit()
        if self.crowd:
            self.freed()

    def _admit(self) -> None:
        while waiting := [entry for entry in self._waiting if not entry[1].done()]:
            entry = min(waiting, key=lambda one: one[0])
            if self.in_hand >= self._places(entry[0]):
                break
            self._waiting.remove(entry)
            self._take()
            entry[1].set_result(None)


class Gates:
    """一个进程的门，按（类型，外面的谁）；类型自己没有名额的，门开着，只受槽位管着，直到另定了名额。

    Args:
        types: 各声明了自己的名额（``limit``）、在外面要排谁的队（``resources``）。
        limits: 配置里改了的，类型 → 名额。
    """

    def __init__(self, types: Iterable[TaskType[Any]], limits: Mapping[str, int]) -> None:
        self.freed = asyncio.Event()
        self._gates: dict[tuple[str, str | None], Gate] = {}
        self._bounded: set[str] = set()
        for one in types:
            limit = limits.get(one.name, one.limit)
            places = UNBOUNDED if limit is None else limit
            self._gates[one.name, None] = Gate(one.name, one.name, places, self.freed.set)
            for whom, places in one.resources.items():
                self._gates[one.name, whom] = Gate(one.place(whom), whom, places, self.freed.set)
            if limit is not None or one.resources:
                self._bounded.add(one.name)

    @property
    def capacity(self) -> int:
        """在槽位之外，手里至多还有几个；类型的名额会另定得多些。"""
        return sum(
            (gate.configured if whom is not None else max(gate.configured, HIGHEST_AT_ONCE)) + PriorityRank.LOW
            for (name, whom), gate in self._gates.items()
            if gate.configured != UNBOUNDED
        )

    def resize(self, places: Mapping[str, int]) -> None:
        """照另定的（类型 → 几个）；没有另定的照配置。"""
        for (name, whom), gate in self._gates.items():
            capacity = gate.configured if whom is not None else places.get(name, gate.configured)
            if capacity != gate.capacity:
                log.info("名额改了", type=name, at_once=None if capacity == UNBOUNDED else capacity)
                gate.resize(capacity)

    def of_type(self, task_type: str) -> Gate | None:
        """没有处理器的类型没有门。"""
        return self._gates.get((task_type, None))

    def of(self, task_type: str, whom: str) -> Gate:
        """排 ``whom`` 的队的门。

        Raises:
            LookupError: 类型没有声明要排它的队。
        """
        try:
            return self._gates[task_type, whom]
        except KeyError:
            raise LookupError(f"{task_type}: no {whom!r} in resources= / resources 里没有 {whom!r}") from None

    def bounds(self, task_type: str) -> bool:
        """这种任务在手里的，有名额管着个数。"""
        return task_type in self._bounded

    def rooms(self, *, crowded: bool) -> dict[str, int]:
        """可以叫回来的：名额 → 几个；``crowded`` 只看知道有在等的。"""
        rooms = {gate.place: gate.room() for gate in self._gates.values() if gate.crowd or not crowded}
        return {place: room for place, room in rooms.items() if room > 0}

    def called(self, asked: Mapping[str, int], found: Sequence[tuple[str, int]]) -> None:
        """叫了哪些（名额 → 几个），叫到了哪些（名额，队列）。"""
        for gate in self._gates.values():
            if gate.place in asked:
                ranks = [PriorityRank(rank) for place, rank in found if place == gate.place]
                gate.called(ranks, asked[gate.place])


@dataclass(slots=True)
class CallingIn:
    """有了名额就叫等着的回来：走了一个叫一个，不轮询每个在等的。隔一会儿也看一眼人另定了什么，要收工的就停。

    ``overrides`` 是运行中另定的；``weights`` 是几个队列都有在等的时候怎么分；``ring`` 按门铃，让 relay 马上交出。
    """

    pool: Pool
    gates: Gates
    overrides: Overrides
    weights: Sequence[int]
    ring: Callable[[], None]
    _look_at: float = -math.inf  # 事件循环的钟

    async def run_once(self) -> int:
        """叫一遍；返回叫到几个。"""
        now = asyncio.get_running_loop().time()
        if looks := now >= self._look_at:
            self._look_at = now + about(LOOK)
        bounds = await self.overrides.of(LimitScope.TYPE)
        self.gates.resize({name: one.at_once for name, one in bounds.items() if one.at_once is not None})
        asked = self.gates.rooms(crowded=not (looks and self.overrides.anyone_waits))
        if not asked:
            return 0
        async with asyncio.timeout(TIMEOUT), self.pool.connection() as connection:
            found = await waiting.call_in(connection, asked, self.weights, NEAR)
        self.gates.called(asked, found)
        if found:
            log.info("有了名额，叫回在等的", **Counter(place for place, _ in found))
            self.ring()
        return len(found)

    async def run(self, stop: asyncio.Event) -> None:
        """直到 ``stop``，要收工就设它；停机的不再叫，叫来的该由别人做。"""
        while not stop.is_set():
            self.gates.freed.clear()
            try:
                await self.run_once()
                if self.overrides.is_drained:
                    stop.set()
            except PASSING_ERRORS as error:
                log.warning("没能叫回在等的，下一遍再叫", error=type(error).__name__)
            except Exception:  # 它一停，等着的只能等到点：说一声，下一遍再来
                log.exception("叫回在等的意外出错，下一遍再叫")
            await asyncio.sleep(BREATH)  # 两遍之间至少隔这么久
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._look_at):
                    await self.gates.freed.wait()


@dataclass(frozen=True, slots=True)
class Seats:
    """一个进程的槽位与名额。"""

    slots: Slots
    gates: Gates
    away: Outside | None = None

    def of(self, queue: Priority, task_type: str, *, called: bool) -> Seat:
        return Seat(self.slots, self.gates, queue, task_type, called, self.away)


@dataclass(frozen=True, slots=True)
class Seat:
    """``called``：等过名额、叫回来的；``away`` 知道停在哪几家外面的。"""

    slots: Slots
    gates: Gates
    queue: Priority
    type: str
    called: bool = False
    away: Outside | None = None

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """先有类型的名额，再占槽位。

        Raises:
            NoPlaceError: 没有名额，而且不会马上轮到。
        """
        async with AsyncExitStack() as stack:
            gate = self.gates.of_type(self.type)
            if gate is not None and gate.capacity == UNBOUNDED and not gate.crowd:  # 开着的门，只数一数
                gate.in_hand += 1
                stack.callback(gate.leave)
            elif gate is not None:
                try:
                    await stack.enter_async_context(self._through(gate))
                except NoPlaceError:
                    self.slots.turned_away()
                    raise
            await stack.enter_async_context(self.slots.running(self.queue, self.type))
            yield

    @asynccontextmanager
    async def place(self, whom: str) -> AsyncIterator[None]:
        """占着槽位来排 ``whom`` 的队：要等的，等的时候让出槽位。

        Raises:
            NoPlaceError: 没有名额，而且不会马上轮到；或那一家停着。
            LookupError: 类型没有声明要排它的队。
        """
        gate = self.gates.of(self.type, whom)
        if self.away is not None and (pause := await self.away.paused(whom)) is not None:
            raise PausedError(pause)
        async with AsyncExitStack() as stack:
            async with self.outside(whom):
                await stack.enter_async_context(self._through(gate))
            yield

    @asynccontextmanager
    async def outside(self, whom: str) -> AsyncIterator[None]:
        """其间等的是外面：没有名额管着个数的，槽位仍占着。"""
        if self.gates.bounds(self.type):
            async with self.slots.outside(self.queue, self.type, whom):
                yield
        else:
            with self.slots.staying(self.type, whom):
                yield

    def _through(self, gate: Gate) -> AbstractAsyncContextManager[None]:
        return gate.entered(self.queue, called=self.called, waits=self.slots.unhold)
