"""转交：发件箱 → SAQ。先入队、后标记：中间死了只会重复（认领会挡住），绝不会丢。

忙时一个事务里看几眼，门铃一响就再看一眼，合成一次提交；先被认领的不必再改它的任务行。
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from pydantic import TypeAdapter
from redis.asyncio import Redis

from kaguan.config.model import Relay
from kaguan.database.group_commit import AWAITED, Gathering
from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.deliver import in_redis
from kaguan.outbox.deliver.aside import UnknownSince, defer, set_aside
from kaguan.outbox.deliver.deliveries import Delivery, Due, KaguanQueue, Line, enqueue_many, fetch, pack
from kaguan.outbox.deliver.pausing import hold
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.naming import named
from kaguan.outbox.spans import handed_spans, send_span
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.vocabulary import Priority, PriorityRank
from kaguan.queues.believing import Moment, believed
from kaguan.queues.keys import PACE, pace_key
from kaguan.telemetry.metrics import observe
from kaguan.words.log import get_logger

log = get_logger(__name__)

HELD = 4.0  # 秒：事务开着、行锁着，Redis 不答就至多等它这么久；短于 idle_in_transaction_timeout
DEFER_SECONDS = 6.0  # SAQ 的 abort 键活 5 秒（docs/GUARANTEES.md）
PRESSED = 0.01  # 秒：窗口满着、积压在等时，隔这么久再看；没有人取就一次次加倍
LONGEST_PRESSED = 0.5  # 秒
PACES_FOR = 1.0  # 秒：步速看一次管这么久
UNKNOWN_FOR = 0.05  # 秒：还不知道步速的都单独走，隔这么久就再看一次
GROW, SHRINK = 1.5, 0.95
STEP = 8  # 满着的窗口空出了这么分之一才再放：做得慢的，不必走一个放一个
PACKAGE = "kaguan.outbox.deliver"
SECONDS = TypeAdapter(Moment)


@dataclass(slots=True)
class Window:
    """交出窗口，一个队列的：Redis 里只放眼下做得过来的。再多，后来的、优先的就都排在它后面了。

    照网卡的动态队列限额（Linux 的 dynamic queue limits）：积压还在而队列空了，放宽一半；没有空过，就收一点。
    放着的多，后来的就等得久；worker 手里还有几批，偶尔空一下耽误不了它。

    Attributes:
        most: 在等的投递至多几个。
        tasks: 眼下的窗口，不小于 ``least`` 个任务。
    """

    most: int
    least: int
    tasks: float = field(init=False)
    pressed: bool = False  # 上一眼没有放下全部，积压还在等
    _sizes: deque[int] = field(default_factory=deque)  # 在等的各投递带着几个，先交的在前；只知道自己交的
    _held: int = 0  # 它们的和

    def __post_init__(self) -> None:
        self.tasks = self.least

    def room(self, limit: int) -> int:
        """还放得下几个任务，至多 ``limit``。"""
        return max(0, min(limit, int(self.tasks) - self._held, self.most - len(self._sizes)))

    def worth(self, limit: int) -> int:
        """值得去取的几个，至多 ``limit``；不值得是 0。"""
        room = self.room(limit)
        return 0 if self.pressed and room < min(limit, self.tasks // STEP, self.most // STEP) else room

    def is_roomy(self, limit: int) -> bool:
        """照自己记着的就放得下不少，不必先看 Redis。"""
        return self.worth(limit) >= max(1, min(limit, self.least // 2))

    def seen(self, depth: int) -> bool:
        """看过了 Redis：在等的投递还有 ``depth`` 个；返回有没有人取走过。"""
        taken = len(self._sizes) > depth
        if self.pressed and depth == 0:
            self.tasks *= GROW
        elif self.pressed:
            self.tasks = max(self.least, self.tasks * SHRINK)
        while len(self._sizes) > depth:
            self._held -= self._sizes.popleft()
        while len(self._sizes) < depth:
            self._sizes.appendleft(1)  # 别的 relay 交的：不知道带着几个
            self._held += 1
        return taken

    def handed(self, sizes: Sequence[int]) -> None:
        """又交出这些投递。"""
        self._sizes.extend(sizes)
        self._held += sum(sizes)

    def forget(self) -> None:
        """交了没有不知道：当作满着，下一眼先看 Redis。"""
        self.handed([1] * self.most)


@dataclass(slots=True)
class Forwarder:
    """一次 ``run_once`` 转交一批。``task_timeout`` 单位秒。

    Attributes:
        heard: 门铃。
        hold: 交出了一批之后，还等门铃这么久（秒），再来的并进同一次提交；0 = 交一批就提交。
        held: 行锁着，等 Redis 至多这么久，秒。
    """

    pool: Pool
    queues: Mapping[Priority, KaguanQueue]
    config: Relay
    task_timeout: float
    metrics: Metrics
    types: TaskTypes
    unknown: UnknownSince = field(default_factory=UnknownSince)  # 不认得的（任务，投递号）
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    hold: float = 0.0
    line: Line = field(default_factory=Line)
    held: float = HELD
    _windows: dict[PriorityRank, Window] = field(init=False)
    _abreast: Mapping[str, int] = field(init=False)  # 可以同乘的类型，几个并排着做
    _gathering: Gathering = field(default_factory=lambda: Gathering(AWAITED))
    _paces: Mapping[str, float] = field(default_factory=dict)
    _paces_at: float = -math.inf
    _look_at: float = -math.inf  # 这时再看下一眼，事件循环的钟
    _idle_looks: int = 0  # 窗口满着，一个也没交出、没有人取走，连着几眼了

    def __post_init__(self) -> None:
        self._windows = {queue.rank: Window(self.config.high_water, self.config.window) for queue in self.queues}
        self._abreast = self.types.abreast

    @property
    def _pressed(self) -> bool:
        return any(window.pressed for window in self._windows.values())

    def interval(self) -> float:
        """没交满一批之后，隔几秒再看：窗口满着、积压在等的很快就来，否则等轮询。"""
        if not self._pressed:
            return self.config.poll_interval
        return min(PRESSED * 2.0 ** min(self._idle_looks, 10), LONGEST_PRESSED, self.config.poll_interval)

    async def run_once(self) -> int:
        """转交一批；返回交出的任务数。

        Raises:
            RedisError: Redis 不在或拒收；事务回滚，什么也没标记。
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self.hold
        rows: list[Due] = []
        handed: list[Delivery] = []
        line = replace(self.line, places=dict(self.line.places), caught_up=dict(self.line.caught_up))
        try:
            async with self.pool.connection() as connection, AsyncExitStack() as transaction:
                await self._look(connection, transaction, rows, handed)
                while handed:  # 门铃再响（积压在等的不必响），凑够一批再看一眼，到 until 为止
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(until):
                            await (asyncio.sleep(self.interval()) if self._pressed else self.heard.wait())
                    if max(self._look_at, clock()) >= until:
                        break
                    await asyncio.sleep(self._look_at - clock())  # 下一眼没到点，攒一攒
                    await self._look(connection, transaction, rows, handed)
                if handed:
                    await mark_queued(connection, handed)
        except BaseException:
            # 没有提交：后来的位置不作数，花掉的时间作数
            self.line = replace(
                line, look_at=self.line.look_at, ask_at=self.line.ask_at, is_patient=self.line.is_patient
            )
            for window in self._windows.values():
                window.forget()  # 交了没有、留着没有，都要看了 Redis 才知道
            raise
        self._count(rows)  # 回滚了的还会再交一遍，不计两次
        return len(rows)

    async def _look(
        self, connection: Connection, transaction: AsyncExitStack, rows: list[Due], handed: list[Delivery]
    ) -> None:
        """看一眼：到期的交出去，记在 ``rows`` 与 ``handed``。"""
        self.heard.clear()
        batch = self.config.batch_size
        taken = False
        if not all(window.is_roomy(batch) for window in self._windows.values()):
            depths = await in_redis.waiting_depths(self.queues)
            taken = sum(self._windows[queue.rank].seen(depth) for queue, depth in depths.items()) > 0
        rooms = {rank: room for rank, window in self._windows.items() if (room := window.worth(batch)) > 0}
        gone = [row.task_id for row in rows]
        # I5：放不下的，积压留在 PostgreSQL
        due = await fetch(connection, transaction, rooms, self.line, gone) if rooms else []
        now = asyncio.get_running_loop().time()
        self._look_at = now + self._gathering.took(len(due), now)
        if paused := [row for row in due if row.pause is not None]:
            await hold(connection, paused)
            due = [row for row in due if row.pause is None]
        unfinished = {priority for priority, _ in self.line.places}
        for rank, window in self._windows.items():
            window.pressed = rank not in rooms or rank in unfinished
        unknown = [row for row in due if row.type not in self.types]
        if unknown:
            await set_aside(connection, unknown, self.unknown, self.metrics)
            due = [row for row in due if row.type in self.types]
        async with asyncio.timeout(self.held):
            deliveries = await self._forward(connection, due) if due else []
        self._idle_looks = 0 if deliveries or paused or taken else self._idle_looks + 1
        for queue in self.queues:
            self._windows[queue.rank].handed([len(one.tokens) for one in deliveries if one.queue is queue])
        if sum(len(one.tokens) for one in deliveries) < len(due):
            carried = {token for one in deliveries for token in one.tokens}
            due = [row for row in due if (row.task_id, row.delivery) in carried]
        rows += due
        handed += deliveries

    async def _forward(self, connection: Connection, due: Sequence[Due]) -> list[Delivery]:
        """入队；返回确实在队列里的。"""
        now = asyncio.get_running_loop().time()
        names = tuple(self._abreast)
        alike = Counter((row.priority, row.type) for row in due if row.type in self._abreast)
        several = {name for (_, name), count in alike.items() if count > 1}  # 只有它们装几个要看步速
        if several and now - self._paces_at > (UNKNOWN_FOR if several - self._paces.keys() else PACES_FOR):
            redis = next(iter(self.queues.values())).redis
            values = await redis.mget([pace_key(redis, name) for name in names]) if names else []
            self._paces = _read_paces(redis, dict(zip(names, values, strict=True)))
            self._paces_at = now
        counts = {str(PriorityRank(rank).queue): n for rank, n in Counter(row.priority for row in due).items()}
        began = time.time_ns()
        with send_span([row.traceparent for row in due], counts) as batch:
            deliveries = pack(due, self._abreast, self._paces, self.config.ids_per_delivery)
            results = await enqueue_many(self.queues, deliveries, self.task_timeout, due[0].now)
            handed = [one for one, queued in zip(deliveries, results, strict=True) if queued]
            if len(handed) < len(deliveries):
                unproven = [one for one, queued in zip(deliveries, results, strict=True) if not queued]
                proofs = await in_redis.known(self.queues, [(one.queue, one.key) for one in unproven])
                handed += [one for one, proof in zip(unproven, proofs, strict=True) if proof]
                blocked = [one for one, proof in zip(unproven, proofs, strict=True) if not proof]
                if blocked:
                    await defer(connection, [task_id for one in blocked for task_id, _ in one.tokens], DEFER_SECONDS)
        taken = {token for one in handed for token in one.tokens}
        messages = (
            (row.type, row.task_id, str(PriorityRank(row.priority).queue), row.traceparent)
            for row in due
            if row.delivery == 1 and (row.task_id, row.delivery) in taken
        )
        handed_spans(batch, began, messages)
        ids = named([row.task_id for row in due], [row.traceparent for row in due])
        # 提交之前说：投递已在队列里，worker 随时开始执行，次序才不颠倒
        log.info("交给队列", count=sum(len(one.tokens) for one in handed), deliveries=len(handed), **counts, **ids)
        return handed

    def _count(self, rows: Sequence[Due]) -> None:
        kinds: dict[tuple[str, int], list[Due]] = {}
        for row in rows:
            kinds.setdefault((row.type, row.priority), []).append(row)
        for (name, priority), alike in kinds.items():
            labels = (name, str(PriorityRank(priority).queue))
            self.metrics.relayed.labels(*labels).inc(len(alike))
            waited = self.metrics.commit_to_relay.labels(*labels)
            for row in alike:
                observe(waited, row.waited, row.traceparent)
        if rows:
            self.metrics.relay_batch.observe(len(rows))

    def facts(self) -> dict[str, dict[str, int]]:
        """进程名片上的：眼下搁着的、不认得的类型。"""
        return {"unknown": self.unknown.counts()}


def _read_paces(redis: Redis, values: Mapping[str, bytes | None]) -> dict[str, float]:
    """各类型写着的步速（秒）；没有写的、读不懂的不在里面。"""
    told = {
        name: believed(redis, PACE, partial(SECONDS.validate_json, value))
        for name, value in values.items()
        if value is not None
    }
    return {name: seconds for name, seconds in told.items() if seconds is not None}


async def mark_queued(connection: Connection, handed: Iterable[Delivery]) -> None:
    """删去发件箱的行，记下是哪些任务、哪一次，同乘的还有 SAQ 的键；已被认领的不必记。"""
    rows = [(task_id, delivery, one.job) for one in handed for task_id, delivery in one.tokens]
    task_ids, deliveries, jobs = (list(column) for column in zip(*rows, strict=True))
    parameters = {"task_ids": task_ids, "deliveries": deliveries, "jobs": jobs}
    await connection.execute(load(PACKAGE, "handed_over"), parameters)
