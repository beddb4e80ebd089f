"""取件与槽位：槽位属于进程，谁有活谁用；几个队列都有活时各保得住自己的一份（缺省 6 : 3 : 1）。

闲着的借得出去，但给每个更急的队列总留着几个：它来了活，当场就有。等外面的时候不占槽位（:meth:`Slots.outside`）。

一个队列同时只有一处在取，占到槽位才取，手里的都能开始了才再取：取来的总做得过来；活一个接一个地做完、手里的转眼
就轮到时，不等它们都开始，认领的来回之间槽位不空着。去取而队列空着，很快就不再占着，也不再为它留一份；之后它来了活
立刻开始，同时执行的因此至多比槽位数多出另外两个队列各一个。
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError
from saq.job import Job

from kaguan.flow.backoff import BACKOFF_MAX, FIRST_BACKOFF, equal_jitter
from kaguan.outbox.deliver.deliveries import KaguanQueue
from kaguan.outbox.vocabulary import Priority, split_slots
from kaguan.queues.believing import refused
from kaguan.queues.keys import SAQ_QUEUED, queue_name
from kaguan.words.log import get_logger

log = get_logger(__name__)

EMPTY_AFTER = 0.02  # 秒：去取了这么久还没有，就当队列是空的
LATE = 0.001  # 秒：事件循环自己晚了这么多，答复也许已到、只是没轮到看
SMOOTHING = 0.1  # 新的一次占这么多
SOON = 0.02  # 秒：手里的这么快就都轮到，才先去取下一批
AT_HAND = 50  # 手里没有开始的不多于这么多，才先去取：认领与执行叠得起来；再多，别人的就都排在它后面


@dataclass(slots=True, eq=False)
class _Lane:
    """一个队列。``share`` 是它保得住的槽位；``fetching`` 是去取的、取来还没开始头一个的。"""

    rank: int
    share: int
    reserve: int  # 闲着也为它留着的，不借给不如它急的
    running: int = 0
    fetching: int = 0
    ahead: int = 0  # 取来而没有开始的任务
    freed_at: float = -math.inf  # 上一次有任务做完，事件循环的钟
    seconds: float = 0.0  # 那一种的占槽位多久
    idle: bool | None = None  # 最近一次去取时空着；还没有人来取过的不知道，也不为它留
    tasks: deque[asyncio.Future[None]] = field(default_factory=deque)
    fetcher: Fetching | None = None

    @property
    def used(self) -> int:
        return self.running + self.fetching

    def kept(self, other: _Lane) -> int:
        """``other`` 借不得的：有活的，它那一份里没用的都是；闲着的只有留着的。"""
        return max(0, self.share - self.used) if self.idle is False else self.reserved(other)

    def reserved(self, other: _Lane) -> int:
        """不如它急的 ``other`` 在自己那一份里也用不得的。"""
        return max(0, self.reserve - self.used) if other.rank > self.rank else 0


_DELIVERY: ContextVar[Fetching | None] = ContextVar("delivery", default=None)  # 随投递进到执行它的协程


class Slots:
    """``total`` 个槽位，一个进程一份。

    Args:
        weights: 三个队列都有活时怎么分。
        reserve: 给每个更急的队列总留着几个，至多是它的那一份。
        empty_after: 秒；去取了这么久还没有，就当队列是空的，别的队列可以占去它那一份。

    Attributes:
        seconds: 各类型的任务做一个要多久（秒，指数滑动平均）。
        measured: 又知道了一种；看的人自己清。
        held: 此刻占着槽位的，按类型。
        away: 在等外面的，按（类型，等谁）；有名额管着个数的，此时不占槽位。
    """

    def __init__(self, total: int, weights: Sequence[int], empty_after: float = EMPTY_AFTER, reserve: int = 0) -> None:
        self.total, self.empty_after = total, empty_after
        self.held: Counter[str] = Counter()
        self.away: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[str, float] = {}
        self.measured = asyncio.Event()
        self._lanes = {
            queue: _Lane(queue.rank, share, min(reserve, share)) for queue, share in split_slots(total, weights).items()
        }

    @property
    def busy(self) -> dict[str, int]:
        """此刻在用的，按队列；借来的也在内。"""
        return {queue: lane.running for queue, lane in self._lanes.items() if lane.running}

    def fetch(self, queue: Priority) -> Fetching:
        """要去这个队列取：等到 :attr:`Fetching.granted` 才去，取到的说 :meth:`Fetching.got`，最后关上。"""
        lane = self._lanes[queue]
        lane.idle = lane.idle or False  # 头一次答复之前，先当它有活
        lane.fetcher = fetching = Fetching(lane, self._offer, self.empty_after)
        self._offer()
        return fetching

    @asynccontextmanager
    async def running(self, queue: Priority, task_type: str) -> AsyncIterator[None]:
        """里面执行一个任务；先取来的先开始。"""
        lane, fetched = self._lanes[queue], _DELIVERY.get()
        if fetched is not None and fetched.first:
            fetched.first = False
            lane.fetching -= fetched.holds
            lane.running += 1
        elif not lane.tasks and self._room(lane) > 0:
            lane.running += 1
        else:
            await self._turn(lane)
        if fetched is not None:
            fetched.start()
        clock = asyncio.get_running_loop().time
        started = clock()
        self.held[task_type] += 1
        try:
            yield
        finally:
            self.held[task_type] -= 1
            lane.freed_at = clock()
            elapsed = lane.freed_at - started
            if task_type not in self.seconds:
                self.measured.set()
            before = self.seconds.get(task_type, elapsed)
            lane.seconds = self.seconds[task_type] = before + SMOOTHING * (elapsed - before)
            lane.running -= 1
            self._offer()

    @asynccontextmanager
    async def outside(self, queue: Priority, task_type: str, whom: str) -> AsyncIterator[None]:
        """在 :meth:`running` 里面：其间等的是外面的 ``whom``，让出槽位，回来再占；它的个数另有名额管着。"""
        lane = self._lanes[queue]
        self._step_out(lane, task_type, whom)
        try:
            yield
        except asyncio.CancelledError:  # 在收场：不再等
            self._step_in(task_type, whom)
            lane.running += 1
            raise
        except BaseException:  # 什么错都要还位
            await self._back(lane, task_type, whom)
            raise
        await self._back(lane, task_type, whom)

    @contextmanager
    def staying(self, task_type: str, whom: str) -> Iterator[None]:
        """其间等的是外面的 ``whom``，槽位仍占着。"""
        self.away[task_type, whom] += 1
        try:
            yield
        finally:
            self.away[task_type, whom] -= 1

    def _step_out(self, lane: _Lane, task_type: str, whom: str) -> None:
        lane.running -= 1
        self.held[task_type] -= 1
        self.away[task_type, whom] += 1
        self._offer()

    def _step_in(self, task_type: str, whom: str) -> None:
        self.held[task_type] += 1
        self.away[task_type, whom] -= 1

    async def _back(self, lane: _Lane, task_type: str, whom: str) -> None:
        """做了一半的先于没开始的。"""
        self._step_in(task_type, whom)
        if self._room(lane) > 0:
            lane.running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        lane.tasks.appendleft(turn)
        try:
            await turn
        except BaseException:  # 取消的也要把账算平
            if not turn.done() or turn.cancelled():
                lane.running += 1  # 收场的照样算占着，离开时才还得平
            raise

    def unhold(self) -> None:
        """本投递的头一个要等别的，不占着为它留的槽位。"""
        fetched = _DELIVERY.get()
        if fetched is not None:
            fetched.unhold()

    def turned_away(self) -> None:
        """本投递里的一个不在这里做了：不算取来而没有开始的。"""
        fetched = _DELIVERY.get()
        if fetched is not None:
            fetched.unhold()
            fetched.start()

    async def _turn(self, lane: _Lane) -> None:
        turn = asyncio.get_running_loop().create_future()
        lane.tasks.append(turn)
        try:
            await turn
        except BaseException:  # 轮到了又取消的，位子让出来
            if turn.done() and not turn.cancelled():
                lane.running -= 1
                self._offer()
            raise

    def _room(self, lane: _Lane) -> int:
        """还有几个槽位给它：自己那份里没用的，或者给别的有活的留够了之后余下的。"""
        others = [other for other in self._lanes.values() if other is not lane]
        free = self.total - lane.used - sum(other.used for other in others)
        open_to_it = free - sum(other.reserved(lane) for other in others)
        return min(open_to_it, max(lane.share - lane.used, free - sum(other.kept(lane) for other in others)))

    def _offer(self) -> None:
        """槽位空出来了：轮到占得最少的队列，先开始取来的；取来的都能开始了，再去取。"""
        for lane in sorted(self._lanes.values(), key=lambda each: each.used / each.share):
            while lane.tasks and self._room(lane) > 0:
                turn = lane.tasks.popleft()
                if not turn.done():
                    lane.running += 1
                    turn.set_result(None)
            if lane.fetcher is not None:
                fits = (room := self._room(lane)) > lane.ahead
                if fits or self._soon(lane, max(lane.share, lane.used + room)):
                    lane.fetcher.grant(holds=fits)
                    lane.fetcher = None

    def _soon(self, lane: _Lane, places: int) -> bool:
        """手里的在 ``places`` 个槽位上很快就都轮到；占着槽位的都慢，就不算。"""
        lively = asyncio.get_running_loop().time() - lane.freed_at <= SOON
        return lively and lane.ahead <= AT_HAND and lane.ahead * lane.seconds <= SOON * places


class Fetching:
    """一次取件：轮到了就占着一个槽位，取到了就留给投递里的头一个任务。

    Attributes:
        granted: 轮到了。
        left: 取来而没有开始的任务。
        first: 取来的，头一个还没有开始。
        holds: 占着一个槽位，取到了就是给头一个的；等久了不占，取来的头一个照样立刻开始。
        early: 没有空着的槽位就先来取的：头一个也要等轮到。
    """

    def __init__(self, lane: _Lane, changed: Callable[[], None], empty_after: float) -> None:
        self.granted, self.left = asyncio.Event(), 0
        self.first = self.holds = self.early = False
        self._lane, self._changed, self._empty_after = lane, changed, empty_after
        self._timer: asyncio.TimerHandle | None = None

    def grant(self, *, holds: bool) -> None:
        """轮到了；``holds`` 时占着一个槽位。"""
        self._lane.fetching += holds
        self.holds, self.early = holds, not holds
        self.granted.set()
        self._timer = asyncio.get_running_loop().call_later(self._empty_after, self._waited)

    def got(self, count: int) -> None:
        """取到的投递带着 ``count`` 个任务；到取它的协程结束还没有开始的，不再算。"""
        self.first = not self.early
        self._lane.idle = False
        self._lane.ahead += count
        self.left = count
        _DELIVERY.set(self)
        if (task := asyncio.current_task()) is not None:
            task.add_done_callback(lambda _: self._ended())

    def start(self) -> None:
        """取来的开始了一个。"""
        if self.left > 0:
            self.left -= 1
            self._lane.ahead -= 1
            self._changed()

    def unhold(self) -> None:
        """头一个不用为它留的槽位。"""
        if self.first:
            self.first = False
            self._lane.fetching -= self.holds
            self._changed()

    def _ended(self) -> None:
        if self.first:
            self._lane.fetching -= self.holds
        self._lane.ahead -= self.left
        self.first, self.left = False, 0
        self._changed()

    def _waited(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None and loop.time() - self._timer.when() > LATE:
            self._timer = loop.call_later(self._empty_after, self._waited)
        else:
            self.close()

    def close(self) -> None:
        """没有取到，或等了很久：当它空着，不再占着槽位，也不再等着轮到。取到了的不变。"""
        if self._timer is not None:
            self._timer.cancel()
        if self._lane.fetcher is self:
            self._lane.fetcher = None
        if (self.holds or self.early) and self.left == 0:
            self._lane.idle = True
            self._lane.fetching -= self.holds
            self.holds = self.early = False
            self._changed()


class Intake(KaguanQueue):
    """取件的一头：有槽位才取；Redis 不在就退避（SAQ 的取件循环自己不等，会空转，见 docs/GUARANTEES.md）。"""

    def __init__(self, redis: Redis, priority: Priority, slots: Slots) -> None:
        super().__init__(redis, name=queue_name(redis, priority))
        self._priority, self._slots = priority, slots
        self._turn = asyncio.Lock()
        self._closed, self._failures = False, 0

    def close(self) -> None:
        """不再取：等着取的立刻空手而回。"""
        self._closed = True

    async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:
        async with self._turn:
            fetching = self._slots.fetch(self._priority)
            try:
                await fetching.granted.wait()
                job = None if self._closed else await super().dequeue(timeout, poll_interval)
                if job is not None:
                    fetching.got(len((job.kwargs or {}).get("deliveries", "1")))
            except RedisError as error:
                if isinstance(error, NoPermissionError) and await self._is_ours():
                    refused(self.redis, SAQ_QUEUED)  # 取到的号是别人的键，读不得：当作没有，relay 会清掉
                    return None
                self._failures += 1
                if self._failures == 1:
                    log.warning("取件失败，退避重试", queue=self.name, error=type(error).__name__)
                wait = equal_jitter(self._failures, FIRST_BACKOFF, BACKOFF_MAX)
                await asyncio.sleep(wait)  # SAQ 立刻又来取：Redis 不在时不空转
                return None
            finally:
                fetching.close()
            if self._failures:
                log.info("取件恢复", queue=self.name, failures=self._failures)
                self._failures = 0
            return job

    async def _is_ours(self) -> bool:
        """队列写得了；什么也不剪。"""
        try:
            await self.redis.ltrim(self.namespace("active"), 0, -1)  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
        except RedisError:
            return False
        return True
