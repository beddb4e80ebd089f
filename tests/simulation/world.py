"""一个可以逐步推进的世界：真的库与 Valkey，真的 relay 与 worker 零件，进程在任何一个效果的前后都停得住、死得了。"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis
from redis.exceptions import RedisError

from kaguan.config import Settings
from kaguan.database.pool import PASSING_ERRORS
from kaguan.outbox.deliver.deliveries import build_queues
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.testing.stepped import SteppedConnection, SteppedPool
from kaguan.queues.client import build_client
from tests.chaos.recording import READ, Recorded, installing, recorded
from tests.simulation.aftermath import nameless
from tests.simulation.cast import RelayParts, WorkerParts, relay_loops, worker_parts
from tests.simulation.clock import VirtualLoop
from tests.simulation.database import pool_of, terminate
from tests.simulation.outside import Outside
from tests.simulation.process import Process
from tests.simulation.standby import TABLES, Standby
from tests.simulation.turnstile import Turnstile
from tests.simulation.witness import Witness
from tests.support.eventually import PATIENCE

PROBE = 0.03  # 秒：在途这么久，看看是不是在等别人的锁
JUMPS = 10_000  # 手里的至多要等这么多个计时器
SEED = 1
WAITING = """
select count(*) from pg_stat_activity a
where datname = current_database() and pid <> pg_backend_pid() and exists (
    select from unnest(pg_blocking_pids(pid)) as holder join pg_stat_activity h on h.pid = holder
    where h.backend_type = 'client backend'
)
"""
VERIFY_URL = "https://relay.example/{message_id}"


def _undisturbed() -> None:
    """没有耽搁。"""


@dataclass(slots=True, eq=False)
class World:
    """``loop`` 不在运行时才可调用这里的同步方法；它们各跑到世界停稳为止。``verifying``：此后起的进程配置了查证。

    ``jolt``：每放行一步之前与等回音之后，用例在这里耽搁它：慢了、收了垃圾，走的该是同样的路。
    """

    settings: Settings
    loop: VirtualLoop
    database_url: str
    admin: psycopg.Connection[Any]
    valkey: redis.Redis
    points: dict[str, int] = field(default_factory=dict)
    outside: Outside = field(default_factory=Outside)
    processes: dict[str, Process] = field(default_factory=dict)
    surprises: list[BaseException] = field(default_factory=list)
    accepted: list[Any] = field(default_factory=list)  # 客户端得到过答复的任务号
    witness: Witness = field(default_factory=Witness)
    turnstile: Turnstile = field(default_factory=Turnstile)
    unnamed: set[Any] = field(default_factory=set)  # 不见了、投递还排着的任务：总有人取到，点得出名
    verifying: bool = False
    jolt: Callable[[], None] = _undisturbed
    metrics: Metrics = field(default_factory=Metrics)  # 没有人看，造一次
    standby: Standby = field(init=False)
    _spare: list[SteppedConnection] = field(default_factory=list)
    _parts: dict[str, RelayParts | WorkerParts | SteppedPool] = field(default_factory=dict)
    _redis: Any = None
    _born: int = 0

    def __post_init__(self) -> None:
        self.standby = Standby(self.admin)

    def open(self) -> None:
        self.standby.install()
        self._redis = build_client(self.settings.redis, connections=64)
        self.reset()

    def record(self) -> None:
        """此后每个任务变过的样子都记下来；自己的会话动的手不算它的历史。"""
        self.admin.execute(installing("sim_ledger"))
        self.admin.execute("set chaos.by_hand = 'on'")

    def take_histories(self) -> list[Recorded]:
        """上次取过之后的。"""
        found = recorded(self.admin.execute(READ).fetchall())
        self.admin.execute("truncate chaos_history")
        return found

    def close(self) -> None:
        self.bury_all()

        async def shut() -> None:
            for connection in self._spare:
                await connection.close()
            await self._redis.aclose(close_connection_pool=True)

        self.loop.run_until_complete(shut())

    def reset(self) -> None:
        """回到什么都没发生过；纪元已记下。"""
        self.bury_all()
        self.admin.execute(f"truncate {', '.join(TABLES)}".encode())
        self.valkey.flushdb()
        self.valkey.script_flush()  # 别的用例装过的脚本不算：头一次用总要装
        random.seed(SEED)
        self.outside = Outside()
        self.standby.reset()
        self.accepted, self.surprises, self._born, self.verifying = [], [], 0, False
        self.witness, self.turnstile = Witness(), Turnstile()
        self.unnamed.clear()
        relay = self.spawn("relay")
        relay.free = True
        self.run(relay, "epoch")
        self.kill(relay)

    # ---- 进程

    def spawn(self, role: str) -> Process:
        """起一个进程；重启的也是新的一个，名字各不相同。"""
        self._born += 1
        process = Process(f"{role}-{self._born}", role, self.points, self.witness, self.turnstile)
        pool = pool_of(process, self._spare, self.database_url)
        self.processes[process.name] = process
        settings, sockets = self._configured(), self._redis.connection_pool
        match role:
            case "relay":
                self._parts[process.name] = relay_loops(settings, process, pool, sockets, self.metrics)
            case "worker":
                self._parts[process.name] = worker_parts(settings, process, pool, sockets, self.outside, self.metrics)
            case _:
                self._parts[process.name] = pool
        return process

    def _configured(self) -> Settings:
        if not self.verifying:
            return self.settings
        smtp = self.settings.smtp.model_copy(update={"verify_url": VERIFY_URL})
        return self.settings.model_copy(update={"smtp": smtp})

    def alive(self, role: str) -> list[Process]:
        return [process for process in self.processes.values() if process.alive and process.role == role]

    def one(self, role: str) -> Process:
        """活着的那个；没有就起一个。"""
        found = self.alive(role)
        return found[0] if found else self.spawn(role)

    def run(self, process: Process, label: str) -> None:
        """RelayParts 的一个循环走一次，或 worker 取一次件（``take-<队列>``）、跳一次心跳（``beat``）。"""
        if process.alive and not process.busy(label):
            part = self._parts[process.name]
            assert isinstance(part, RelayParts | WorkerParts)
            self._start(process, label, part.works[label])

    def api(self, process: Process, label: str, work: Callable[[Any], Awaitable[None]]) -> None:
        """API 的一次请求。"""
        if process.alive and not process.busy(label):
            pool = self._parts[process.name]
            self._start(process, label, lambda: work(pool))

    def _start(self, process: Process, label: str, work: Callable[[], Awaitable[object]]) -> None:
        async def guarded() -> None:
            try:
                await work()
            except (RedisError, *PASSING_ERRORS):
                pass  # 循环会退避再来
            except Exception as error:  # noqa: BLE001 意外留待裁判
                self.surprises.append(error)

        async def begin() -> None:
            process.start(label, guarded())
            await self._settle()

        self.loop.run_until_complete(begin())

    def advance(self, process: Process, index: int = 0) -> None:
        """放行一处，到下一个点。没有停着的而还有活：它在等计时器，让时钟走过去。"""

        async def step() -> None:
            if process.parked:
                process.go(index)
            elif process.working:
                self.loop.jump()
            await self._settle()

        self.loop.run_until_complete(step())

    def finish(self, process: Process) -> None:
        """不再停，把手里的做完（等别人的锁的除外）。"""
        process.run_freely()
        for _ in range(JUMPS):
            self.loop.run_until_complete(self._settle())
            if not process.working:
                process.free = False
                return
            if process.flying:
                return  # 别人拿着锁，而别人停着
            self.loop.jump()
        raise AssertionError(f"{process.name} 做不完：{process.working}")

    def count_unnamed(self) -> None:
        """已被取走的不再指望：取件者死了、断了，就点不了名。"""
        if self.unnamed:
            self.unnamed &= nameless(self)

    def kill(self, process: Process) -> None:
        """SIGKILL：此刻起它什么也做不成；连接断了，没提交的回滚，内存里的全没了。"""
        process.alive = False
        terminate(self.admin, process.connections)

        async def die() -> None:
            for here in list(process.parked):
                here.go.cancel()
            working = process.working
            for job in working:
                job.cancel()
            await self._settle()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*working, return_exceptions=True)

        self.loop.run_until_complete(die())
        self.count_unnamed()

    def cut(self, process: Process) -> None:
        """它的数据库会话断了（重启、切换、网络）；进程还在。"""
        terminate(self.admin, process.connections)
        self.loop.run_until_complete(self._settle())
        self.count_unnamed()

    def fail_over(self, *, same_timeline: bool = False, pooled: Process | None = None) -> None:
        """备库顶上来：谁的会话都断了，进程还在，手里的令牌也在。``pooled`` 隔着连接池器，闲着的会话不断。"""
        cut = [process for process in self.processes.values() if process is not pooled]
        terminate(self.admin, [connection for process in cut for connection in process.connections])
        self.loop.run_until_complete(self._settle())
        self.standby.promote(same_timeline=same_timeline)
        self.unnamed, self.witness.cut = nameless(self), True

    def begin_stop(self, process: Process) -> None:
        """SIGTERM 而时限已到：不再等，取消手里的，开始交还。"""
        part = self._parts[process.name]
        if process.alive and isinstance(part, WorkerParts):
            for job in process.working:
                job.cancel()
            self.loop.run_until_complete(self._settle())
            self._start(process, "release", part.leases.release_all)

    def stop(self, process: Process) -> None:
        """SIGTERM：交还之后退出。"""
        self.begin_stop(process)
        self.finish(process)
        self.kill(process)

    def bury_all(self) -> None:
        for process in self.processes.values():
            if process.alive:
                self.kill(process)
        self.processes.clear()
        self._parts.clear()

    # ---- 停稳

    async def _settle(self) -> None:
        """没有可跑的了才放一个，放到没有可放的；在途而在等别人的锁，也算停稳。"""
        deadline = time.monotonic() + PATIENCE
        while True:
            self.jolt()
            await asyncio.sleep(0)
            if not self.loop.is_quiet():
                continue
            if self.turnstile.flying:
                self.loop.wait_for_io(PROBE)
                self.jolt()
                await asyncio.sleep(0)
                if not self.loop.is_quiet() or self._waiting_for_locks() < self.turnstile.flying:
                    if time.monotonic() > deadline:
                        raise AssertionError("停不稳")
                    continue
            if not self.turnstile.next():
                return

    def _waiting_for_locks(self) -> int:
        """在等自己人的锁的；等清扫之类的，过一会儿自己会好。"""
        row = self.admin.execute(WAITING).fetchone()
        return 0 if row is None else int(row[0])

    def queues(self) -> dict[Any, Any]:
        return build_queues(self._redis)
