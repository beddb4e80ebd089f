"""第 1、2、3、4、8、28 行：受理，与问一个任务。各方都是真的进程，没轮到的冻住。没有 relay 与 worker。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median

from kaguan.config.model import Redis
from kaguan.flow.probes import LOOPBACK, answers_ready, is_listening
from kaguan.outbox.accept.doorbell import listen
from kaguan.queues.client import open_redis
from tests.bench.backlog import UNSETTLED
from tests.bench.comparison import MeasureError, Result, Target, absolute, alternate, at_most, ratio
from tests.bench.laboratory import SAMPLE_RATIO, Laboratory
from tests.bench.load import Load, Report
from tests.bench.processes import Running, running
from tests.bench.stack import open_stack, otlp_sink
from tests.support.alongside import alongside
from tests.support.places import own_port

ASKED_ROW = 28
BASE = "/api/v1"
OURS = f"{BASE}/tasks/email"
THEIRS = "/submit"
SHARE_OF_MAXIMUM = 0.8
NEVER = "86400"  # 秒：门铃间隔的上限，等于不按
PER_SECOND = "请求/秒"
PATIENCE, LOOK = 60.0, 0.2  # 秒


@dataclass(frozen=True, slots=True)
class Server:
    """一个在跑的被测者。"""

    running: Running
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Accepting:
    """受理类的测量。"""

    laboratory: Laboratory
    load: Load

    async def against_bare(self) -> list[Result]:
        what = "`POST /tasks/email` 全开 ÷ 裸 aiohttp + psycopg（同样的行，一条语句）"
        async with self._ours("api", traced=True) as ours, self._rival("bare_aiohttp") as rival:
            return [await self._compare(1, what, ours, rival, Target(0.85, 1.0))]

    async def against_fastapi(self) -> list[Result]:
        what = "`POST /tasks/email` 全开 ÷ FastAPI + SQLAlchemy ORM（同样的行）"
        async with self._ours("api", traced=True) as ours, self._rival("fastapi_orm") as rival:
            return [await self._compare(2, what, ours, rival, Target(4, 6))]

    async def latency(self) -> list[Result]:
        """每轮先用同一个客户端压满量出最大值，再按它的 80 % 开环施压，裸的跟着按同样的快慢。"""
        reports: list[Report] = []
        bare: list[Report] = []
        async with self._ours("api", traced=True) as ours, self._rival("bare_aiohttp") as rival:
            for _ in range(self.laboratory.scale.rounds):
                maximum = (await self._measure(ours, self._closed)).rate
                reports.append(await self._measure(ours, partial(self._open, maximum)))
                bare.append(await self._measure(rival, partial(self._open, maximum)))
        measured = f"{median(r.rate for r in reports):,.0f} {PER_SECOND}（最大值的 80 %，泊松到达）"
        rows = [
            ("P95", [r.p95 for r in reports], at_most(200, 20)),
            ("P99", [r.p99 for r in reports], at_most(500, 50)),
        ]
        what, same = "受理的 P95，80 % 最大吞吐 ÷ 裸 aiohttp + psycopg 在同样的快慢", [r.p95 for r in bare]
        return [
            ratio(3, what, rows[0][1], same, "ms", at_most(1.5, 1.1)),
            *(absolute(3, f"受理的 {name}，80 % 最大吞吐", ms, " ms", target, measured) for name, ms, target in rows),
        ]

    async def bare(self) -> list[float]:
        """裸的压满，各轮每秒多少个请求。"""
        async with self._rival("bare_aiohttp") as rival:
            await self._measure(rival, lambda s: self.load.saturate(s.port, s.path, self.laboratory.scale.warm))
            return [(await self._measure(rival, self._saturated)).rate for _ in range(self.laboratory.scale.rounds)]

    async def doorbell(self) -> list[Result]:
        """两边都有一个监听者（本进程），差别只在按不按。"""
        async with (
            open_redis(Redis.model_validate({"url": self.laboratory.redis_url})) as redis,
            alongside(listen(redis, lambda: None), "listener"),
            self._ours("api", traced=True) as ringing,
            self._ours("api-silent", traced=True, KAGUAN_RELAY__DOORBELL_INTERVAL=NEVER) as silent,
        ):
            return [await self._compare(4, "受理吞吐：门铃开 ÷ 关", ringing, silent, Target(0.90, 0.97))]

    async def tracing(self) -> list[Result]:
        """生产的采样与全部采样，各与不跟踪比。"""
        production = f"受理吞吐：跟踪按生产的比例（{float(SAMPLE_RATIO):g}）采样并导出 ÷ 不跟踪"
        full = "受理吞吐：跟踪全部采样并导出 ÷ 不跟踪"
        async with (
            self._ours("api-untraced", traced=False) as untraced,
            self._ours("api-sampled", traced=True) as sampled,
            self._ours("api-traced", traced=True, KAGUAN_TELEMETRY__SAMPLE_RATIO="1") as traced,
        ):
            return [
                await self._compare(8, production, sampled, untraced, Target(0.92, 0.97)),
                await self._compare(8, full, traced, untraced, Target(0.8, 0.9)),
            ]

    async def asked(self) -> list[Result]:
        """做完的一个任务，反复问它。"""
        laboratory, scale = self.laboratory, self.laboratory.scale
        await laboratory.clean()
        await laboratory.filled(1)
        async with open_stack(laboratory):
            await laboratory.until_none(UNSETTLED, PATIENCE, LOOK)
        ((task_id,),) = await laboratory.execute("select id from tb_task")

        async def rate(server: Server, prefix: str, seconds: float) -> float:
            server.running.resume()
            report = await self.load.paced(server.port, f"{prefix}/tasks/{task_id}", seconds, rate=0, following="")
            server.running.pause()
            return report.rate

        async with self._ours("api", traced=True) as ours, self._rival("bare_aiohttp") as rival:
            sides = partial(rate, ours, BASE), partial(rate, rival, "")
            for side in sides:
                await side(scale.warm)
            figures = await alternate(scale.rounds, *(partial(side, scale.seconds) for side in sides))
        what = "`GET /tasks/{id}` 全开 ÷ 裸 aiohttp + psycopg（读同一行）"
        return [ratio(ASKED_ROW, what, *figures, PER_SECOND, Target(0.5, 0.8))]

    async def _compare(self, row: int, what: str, ours: Server, rival: Server, target: Target) -> Result:
        for server in (ours, rival):
            await self._measure(server, lambda s: self.load.saturate(s.port, s.path, self.laboratory.scale.warm))

        async def rate(server: Server) -> float:
            return (await self._measure(server, self._saturated)).rate

        figures = await alternate(self.laboratory.scale.rounds, lambda: rate(ours), lambda: rate(rival))
        return ratio(row, what, *figures, PER_SECOND, target)

    async def _measure(self, server: Server, press: Callable[[Server], Awaitable[Report]]) -> Report:
        """清空、解冻、施压、等静、冻住；库里的行数要对得上应答数。

        Raises:
            MeasureError: 应答了却没有写进库。
        """
        await self.laboratory.clean()
        server.running.resume()
        report = await press(server)
        await self.laboratory.quiet()
        server.running.pause()
        for table in ("tb_task", "tb_outbox"):
            rows = await self.laboratory.number(f"select count(*) from {table}")
            if rows < report.requests:
                raise MeasureError(f"{table} 只有 {rows:.0f} 行，却应答了 {report.requests} 个")
        return report

    def _saturated(self, server: Server) -> Awaitable[Report]:
        return self.load.saturate(server.port, server.path, self.laboratory.scale.seconds)

    def _closed(self, server: Server) -> Awaitable[Report]:
        return self.load.paced(server.port, server.path, self.laboratory.scale.seconds, rate=0)

    def _open(self, maximum: float, server: Server) -> Awaitable[Report]:
        seconds = self.laboratory.scale.paced_seconds
        return self.load.paced(server.port, server.path, seconds, maximum * SHARE_OF_MAXIMUM)

    @asynccontextmanager
    async def _ours(self, name: str, *, traced: bool, **extra: str) -> AsyncIterator[Server]:
        """我们的 API，一个进程。``traced`` 时跨度真的导出到一个收下就丢的接收端。"""
        laboratory, port = self.laboratory, own_port()
        async with AsyncExitStack() as stack:
            environment = laboratory.environment(KAGUAN_API__PORT=str(port), **extra)
            if traced:
                environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = await stack.enter_async_context(
                    otlp_sink(laboratory, name)
                )
            program = laboratory.module(
                name, "api", environment=environment, ready=lambda: answers_ready(port, LOOPBACK)
            )
            process = await stack.enter_async_context(running(program, laboratory.directory))
            process.pause()
            yield Server(process, port, OURS)

    @asynccontextmanager
    async def _rival(self, name: str) -> AsyncIterator[Server]:
        port = own_port()
        environment = {"RIVAL_DATABASE_URL": self.laboratory.database_url()}
        program = self.laboratory.module(
            name, f"tests.bench.rivals.{name}", str(port), environment=environment, ready=lambda: is_listening(port)
        )
        async with running(program, self.laboratory.directory) as process:
            process.pause()
            yield Server(process, port, THEIRS)
