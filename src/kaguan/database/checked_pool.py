"""连接池，借出去的都还活着：断在闲时的不等谁撞上；重连错开来，不一拥而上（ADR 0027）。"""

from __future__ import annotations

import asyncio
import math
import select
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
from psycopg import generators, waiting
from psycopg.abc import PQGen
from psycopg.errors import Diagnostic
from psycopg_pool import AsyncConnectionPool

from kaguan.database.connecting import Connection, History, LimitedConnection, is_former, rotated
from kaguan.flow.background import stopped
from kaguan.flow.backoff import jitter
from kaguan.words.log import get_logger

log = get_logger(__name__)

ANSWER_PATIENCE = 1.0  # 秒：试的时候等对面这么久
RECOVERY = 5.0  # 秒：断过、连不上过之后这么久之内，重连错开
SPACING = 0.25  # 秒：一个池里两次重连平均隔这么久
SPACING_AWAY = 1.0  # 秒：上一次没连上
SYNC_WAIT = "SyncRepWaitForLSN"  # PostgreSQL 里的函数；它的话随服务器的语言，名字不变
UNCONFIRMED = "commits_unconfirmed"
HEARSAY = 30.0  # 秒：只是听说、自己没有连上过的主库，至多跟这么久
HEARD_FOR = 5.0  # 秒：不再听说，再跟这么久
STANDBY_AWAY = 10.0  # 秒：最近一次没等到备库之后这么久之内，超时都当作还是为了它


class PooledConnection(LimitedConnection):
    """``close`` 即归还（SQLAlchemy 用的就是它），断了的也一样。

    psycopg 的 ``close_returns`` 对已断的连接直接返回、不还给池：每断一条，池就永远少一个名额，用完即不可用。
    """

    rested_at: float = 0.0  # 何时还回来的；time.monotonic

    def retire(self) -> None:
        """还给池时换一条新的。

        libpq 的发送缓冲长到发过的最大一条语句那么大，连接活着就不缩：发过十几 MB 的连接留着，池里每条都会占这么多。
        """
        self._expire_at = 0.0

    @property
    def is_standby(self) -> bool:
        """对面是备库（服务器自己报的，不必问）：切换之后，地址还没指向新的主库。"""
        return self.pgconn.parameter_status(b"in_hot_standby") == b"on"

    async def close(self) -> None:
        pool = self._pool
        if self.closed and isinstance(pool, AsyncConnectionPool):
            await pool.putconn(self)
            self._pool = None  # 只还一次
            return
        await super().close()

    def is_suspect(self, *, rested_before: float) -> bool:
        """要不要问一句才放心：歇得久了，或对面说过什么（多半是断了）。"""
        if self.rested_at <= rested_before:
            return True
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        return bool(poll.poll(0))

    async def answers(self) -> bool:
        """对面答不答；不答的、是备库的就地关掉。空语句：不开事务，不写日志。

        不用 psycopg 的 ``wait``：它被取消时还要去取消语句，对面是黑洞就再等十秒。
        """
        try:
            await waiting.wait_async(self._ask_nothing(), self.pgconn.socket, 0.1, ANSWER_PATIENCE)
        except Exception:  # noqa: BLE001 断了、超时、说胡话，都一样不能借出去
            self.pgconn.finish()
            return False
        except BaseException:  # 被取消：问到一半的连接不能再用
            self.pgconn.finish()
            raise
        if self.is_standby:
            self.pgconn.finish()
        return not self.closed

    def _ask_nothing(self) -> PQGen[None]:
        self.pgconn.send_query(b"")
        yield from generators.execute(self.pgconn)


class CheckedPool(AsyncConnectionPool[Connection]):
    """见模块说明。

    Args:
        conninfo: 地址。
        check_idle: 歇了这么多秒的，借出之前问一句。
        options: 其余同 psycopg_pool。
    """

    def __init__(self, conninfo: str, *, check_idle: float, **options: Any) -> None:
        super().__init__(self._in_turn, connection_class=PooledConnection, **options)
        self._url = conninfo
        self._check_idle = check_idle
        self._lost_at = 0.0  # 最近一次发觉断了
        self._unconfirmed_at = -math.inf
        self.hearsay, self.heard_for = HEARSAY, HEARD_FOR
        self.met: History | None = None  # 自己连上过的
        self._heard: History | None = None  # 听说有更新的
        self._heard_since = self._heard_at = -math.inf  # 从何时起、最近何时听说
        self._errors = 0
        self._recovering_until = 0.0
        self._turn = 0.0
        self._sweep: asyncio.Task[None] | None = None
        self._returning: set[asyncio.Future[None]] = set()

    async def getconn(self, timeout: float | None = None) -> Connection:
        """借一条活着的；断了的换掉，接着借，仍在时限之内。"""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            connection = await self._take(deadline - time.monotonic())
            if is_former(connection.history, self.history):
                connection.pgconn.finish()
            elif not connection.is_suspect(rested_before=max(self._lost_at, time.monotonic() - self._check_idle)):
                break
            else:
                async with self._kept_or_given_back(connection):
                    alive = await connection.answers()
                if alive:
                    break
            await self.putconn(connection)
        if not connection.autocommit:  # SQLAlchemy 借走时关了它（engine_on）；不用 ``reset``：归还要排在重连后面
            async with self._kept_or_given_back(connection):
                await connection.set_autocommit(True)
        return connection

    @asynccontextmanager
    async def _kept_or_given_back(self, connection: PooledConnection) -> AsyncIterator[None]:
        """借到了、还没交出去；里面出了事就还。不是对面断的，别的不必起疑。"""
        try:
            yield
        except BaseException:  # 连取消也要先还回去，否则池永远少一个名额
            await self._give_back(connection)
            raise

    async def putconn(self, conn: Connection) -> None:
        """归还；断了的换新，余下闲着的都起疑。"""
        conn = cast("PooledConnection", conn)
        conn.rested_at = time.monotonic()
        if conn.closed:
            self._suspect_all()
        elif conn.is_standby:
            conn.retire()  # 只用这一次，下一条也许就到了主库
        await self._give_back(conn)

    async def _give_back(self, conn: Connection) -> None:
        """归还，不怕取消：还到一半被取消，池就永远少一个名额。"""
        returning = asyncio.ensure_future(super().putconn(conn))
        self._returning.add(returning)
        returning.add_done_callback(self._returning.discard)
        await asyncio.shield(returning)

    async def close(self, timeout: float = 5.0) -> None:
        if self._sweep is not None:  # 它手里的先还回来：池关了再还的，3.12 起没有人收
            await stopped(self._sweep, patience=timeout)
        await super().close(timeout)

    async def _take(self, timeout: float) -> PooledConnection:
        """3.11 的 ``wait_for`` 会吞掉恰逢连接到手的取消（psycopg_pool 用它等）：补上。"""
        task = asyncio.current_task()
        asked = 0 if task is None else task.cancelling()
        connection = await super().getconn(timeout)
        if task is not None and task.cancelling() > asked:
            await self._give_back(connection)
            raise asyncio.CancelledError
        return cast("PooledConnection", connection)

    def stay_with(self, connection: LimitedConnection) -> None:
        """只跟着一个主库：同一个集群而时间线更旧，是切换之前的那个又当起了主的。

        Raises:
            psycopg.OperationalError: 不跟；下一条换一个主机先试。
        """
        met, followed = connection.history, self.history
        if met and followed and is_former(met, followed):
            connection.pgconn.finish()
            self._url = rotated(self._url)
            log.warning(
                "切换之前的主库又在当主的，不跟它", pool=self.name, timeline=met.timeline, followed=followed.timeline
            )
            raise psycopg.OperationalError(f"时间线 {met.timeline} 已被 {followed.timeline} 取代")
        self.met = met or self.met

    @property
    def history(self) -> History | None:
        """跟着的：自己连上过的；听说有更新的，一阵子跟那一个。"""
        now = time.monotonic()
        is_heard = now - self._heard_at <= self.heard_for and now - self._heard_since <= self.hearsay
        return self._heard if is_heard and (self.met is None or is_former(self.met, self._heard)) else self.met

    def follow(self, heard: History | None, source: str) -> None:
        """``source`` 里写着别的进程连上过的主库，每一拍来说一次；没有写着更新的就是 None。

        比自己连上过的新，就跟它，连着旧的都不要了；一直连不上它，:data:`HEARSAY` 秒之后回到自己连上过的：
        也许是谁把副本库指到了同一个 Redis。写着的没有了，也回去。
        """
        now, followed = time.monotonic(), self.history
        if heard is None or not (self.met is None or is_former(self.met, heard)):
            return
        if heard != self._heard:
            self._heard, self._heard_since = heard, now
        self._heard_at = now
        if is_former(followed, self.history):
            log.warning(
                "别的进程见过更新的主库，不再跟旧的",
                pool=self.name,
                key=source,
                timeline=heard.timeline,
                seconds=self.hearsay,
            )
            self._suspect_all()
        elif now - self._heard_since > self.hearsay:
            log.error(
                "听说的主库一直连不上，不再跟它；没有切换过的，是谁把副本库指到了同一个 Redis：改好之后删去这个键",
                pool=self.name,
                key=source,
                timeline=heard.timeline,
            )

    def heed(self, notice: Diagnostic) -> None:
        """等同步备库等到被取消：本机已经提交，备库有没有，不知道。"""
        if notice.source_function == SYNC_WAIT:
            self._stats[UNCONFIRMED] += 1
            self._unconfirmed_at = time.monotonic()

    @property
    def waits_for_standby(self) -> bool:
        """最近有提交没等到同步备库。"""
        return time.monotonic() - self._unconfirmed_at < STANDBY_AWAY

    def _suspect_all(self) -> None:
        """头一次发觉断了，就把闲着的一起试：同一个代理、同一次重启断的往往是全部，不必一个个等人撞上。"""
        self._lost_at = time.monotonic()
        self._recovering_until = self._lost_at + RECOVERY
        if self._sweep is None or self._sweep.done():
            self._sweep = asyncio.create_task(self._try_idle(), name=f"{self.name}-sweep")

    async def _try_idle(self) -> None:
        idle = self.get_stats().get("pool_available", 0)
        log.info("有连接断了，闲着的一起试", pool=self.name, idle=idle)
        await asyncio.gather(*(self._try_one() for _ in range(idle)), return_exceptions=True)

    async def _try_one(self) -> None:
        if self.get_stats().get("pool_available", 0):  # 都给要用的人借走了：他们会试
            await self.putconn(await self.getconn(ANSWER_PATIENCE))

    async def _in_turn(self) -> str:
        """地址。平时立刻给；断过、连不上过，就错开着给：几十个进程、几百条连接不在同一刻去敲门。"""
        now, errors, spacing = time.monotonic(), self.get_stats().get("connections_errors", 0), SPACING
        if errors != self._errors:
            self._errors, self._recovering_until, spacing = errors, now + RECOVERY, SPACING_AWAY
        if now < self._recovering_until:
            self._turn = max(self._turn, now - SPACING) + jitter(0, 2 * spacing)  # 头一条多半立刻：有人等着用
            await asyncio.sleep(max(0.0, self._turn - now))  # 等的是自己的钟点，没有可等的事
        return self._url
