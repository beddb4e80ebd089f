"""一次尝试：处理器看得到的一切。写入都经它的隔离（:mod:`kaguan.outbox.work.fence`）。"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, Protocol
from uuid import UUID

from psycopg.types.json import Jsonb
from redis.exceptions import RedisError

from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.task_type import P_co, P_contra
from kaguan.outbox.work.fence import Fence, FencedError, Token
from kaguan.outbox.work.outcome import Outcome, Write
from kaguan.outbox.work.places import Seat
from kaguan.telemetry.propagation import current_traceparent

PACKAGE = "kaguan.outbox.work"
PROGRESS_INTERVAL = 1.0  # 秒；写得更勤只会增加死元组


class CancelledByUserError(Exception):
    """用户要求取消，处理器在安全点停下。"""


class UnnotedError(Exception):
    """Redis 不在，没有记下就要去做的外部调用：不做，过一会儿再来。"""


@dataclass(slots=True)
class Attempt(Generic[P_co]):
    """一个任务的一次执行。

    Attributes:
        fence: 它的写入经过的隔离；令牌与库里不符即 :class:`FencedError`。
        attempt: 第几次尝试，从 1 起。
        payload: 任务载荷，校验过的。
        intended: 先前某次尝试的外部调用下落不明，至今没有答案：这个任务不许再判失败或取消。
        declared: 本次尝试已记下意向；此后的意外即结局不明。
        calls_nobody: 处理器说过这一次用不着外面，见 :meth:`call_nobody`。
        deadline: 长任务应在此刻（事件循环的钟）之前让位，见 :meth:`time_left`。
        lost: 租约已失时置位；长循环应在每一步前调 :meth:`checkpoint`。
    """

    fence: Fence
    type: str
    attempt: int
    max_attempts: int
    payload: P_co
    request_id: str | None = None
    intended: bool = False
    declared: bool = False
    calls_nobody: bool = False
    deadline: float = math.inf
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    calls: Calls | None = None
    seat: Seat | None = None  # 没有坐席的（就地执行、单试处理器）不排队
    progress: dict[str, int | None] | None = None
    _progress_at: float = 0.0

    @property
    def pool(self) -> Pool:
        """只读的查询用；写入经 :meth:`transaction`。"""
        return self.fence.pool

    @property
    def token(self) -> Token:
        return self.fence.token

    @property
    def task_id(self) -> UUID:
        """任务号，各次尝试相同。"""
        return self.token.task_id

    @property
    def delivery(self) -> int:
        """第几次投递。"""
        return self.token.delivery

    def checkpoint(self) -> None:
        """安全点。

        Raises:
            FencedError: 租约已失。
            CancelledByUserError: 用户要求取消。
        """
        if self.lost.is_set():
            raise FencedError
        if self.cancel_requested.is_set():
            raise CancelledByUserError

    @property
    def passes(self) -> int:
        """不计尝试的空跑了几趟。"""
        return self.delivery - self.attempt

    @asynccontextmanager
    async def outside(self, whom: str) -> AsyncIterator[None]:
        """里面等的是外面的 ``whom``（轮到、限额、应答）：让出槽位，别的先做；出来时再占。

        里面不要占着数据库连接。类型没有名额（``TaskType.limit``、``resources``）管着个数的，槽位仍占着。
        """
        async with nullcontext() if self.seat is None else self.seat.outside(whom):
            yield

    @asynccontextmanager
    async def place(self, whom: str) -> AsyncIterator[None]:
        """里面占着 ``whom`` 的一个名额（``TaskType.resources``）；要等的，等的时候不占槽位。

        Raises:
            NoPlaceError: 没有名额，而且不会马上轮到：原样传出即让位，有了名额再叫回来，不计尝试。
            LookupError: 类型没有声明要排它的队。
        """
        async with nullcontext() if self.seat is None else self.seat.place(whom):
            yield

    def time_left(self) -> float:
        """离让位还有几秒，不大于 0 即该让：再做下去会撞上任务时限，白白耗掉一次尝试。"""
        return self.deadline - asyncio.get_running_loop().time()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """带隔离令牌检查的事务：锁住任务行，确认仍归自己，再让处理器写入。

        Raises:
            FencedError: 令牌已失效；事务回滚。
            GateClosedError: 还归自己，历史却没有核对完；事务回滚。
        """
        declared = self.declared
        try:
            async with self.fence.transaction() as connection:
                yield connection
        except BaseException:
            self.declared = declared  # 意向没有提交（或不知道）：无论如何，外部调用还没开始
            raise

    def after_commit(self, tell: Callable[[], None]) -> None:
        """在 :meth:`transaction` 或结算的写入里记下「提交之后」才做的事；回滚了就不做。"""
        self.fence.after_commit(tell)

    async def declare_intent(self, connection: Connection) -> None:
        """在无法幂等的调用之前、于 :meth:`transaction` 内记下意向；从此到结算之间若死去，任务即 uncertain。

        先在 Redis 记一笔：PostgreSQL 若丢了这个意向，那里还有。

        Raises:
            UnnotedError: 没有记成，别去做。
            FencedError: 令牌已失效。
            GateClosedError: 历史没有核对完。
        """
        if self.calls is not None:
            try:
                await self.calls.note(connection, self.task_id, self.delivery)
            except RedisError as away:
                raise UnnotedError from away
        cursor = await connection.execute(load(PACKAGE, "declare_intent"), self.token._asdict())
        if cursor.rowcount == 0:
            raise await self.fence.failed(connection)
        self.declared = True

    @asynccontextmanager
    async def once(self, write: Write | None = None) -> AsyncIterator[None]:
        """重复了收不回的外部调用写在里面：进来之前意向已提交，此后到结算之间的死与意外都是结局不明。

        Args:
            write: 与意向同一事务的写入（收件人、单号……）。

        Raises:
            FencedError: 令牌已失效；里面的没有执行。
            CancelledByUserError: 用户要求取消；同上。
            UnnotedError: Redis 不在，意向没有记成；同上。
            GateClosedError: 历史没有核对完；同上。
        """
        self.checkpoint()
        async with self.transaction() as connection:
            await self.declare_intent(connection)
            if write is not None:
                await write(connection)
        yield

    def call_nobody(self) -> None:
        """这一次用不着外面（都已有定论）：没有记意向是有意的，不是忘了。"""
        self.calls_nobody = True

    async def report(self, done: int, total: int | None = None, **counters: int) -> None:
        """写进度（至多每秒一次；最后一次由结算带上）。"""
        self.progress = {"done": done, "total": total, **counters}
        now = asyncio.get_running_loop().time()
        if now - self._progress_at < PROGRESS_INTERVAL:
            return
        self._progress_at = now
        parameters = {**self.token._asdict(), "progress": Jsonb(self.progress), "traceparent": self.own_traceparent}
        async with self.pool.connection() as connection:
            await connection.execute(load(PACKAGE, "progress"), parameters)

    @property
    def own_traceparent(self) -> str | None:
        """这次尝试自己的跟踪；头一次投递就在受理的那条上，没有自己的。"""
        return current_traceparent() if self.delivery > 1 else None


class Handler(Protocol[P_contra]):
    """处理器：一次尝试进，一个结果出。"""

    async def __call__(self, attempt: Attempt[P_contra], /) -> Outcome: ...
