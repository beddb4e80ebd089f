"""一整套：API、relay、worker 各一个进程，默认的配置。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from kaguan.flow.probes import LOOPBACK, answers_ready, is_listening
from tests.bench.laboratory import Laboratory
from tests.bench.processes import Running, running
from tests.support.places import own_port

LIVE = "/health/live"
NOOP, REAL = "tests.bench.noop_worker", "workers"
EVERYTHING = "1"  # 全部采样


@dataclass(frozen=True, slots=True)
class Stack:
    """在跑的一套。``processes`` 是各部分的进程号，两个服务器也在内。"""

    port: int
    processes: Mapping[str, int]
    worker: Running


@asynccontextmanager
async def open_stack(
    laboratory: Laboratory, worker: str = NOOP, *, sampled: str | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """``worker`` 是 worker 进程的模块；给了 ``sampled``：按这个比例采样，并真的导出到一个收下就丢的接收端。"""
    shared = dict(settings or {})
    port, metrics = own_port(), own_port()
    async with AsyncExitStack() as stack:
        if sampled is not None:
            shared["KAGUAN_TELEMETRY__SAMPLE_RATIO"] = sampled
            shared["OTEL_EXPORTER_OTLP_ENDPOINT"] = await stack.enter_async_context(otlp_sink(laboratory, "stack"))

        def environment(**own: str) -> dict[str, str]:
            return laboratory.environment() | shared | own

        programs = [
            laboratory.module(
                "worker",
                worker,
                environment=environment(KAGUAN_WORKER__METRICS_PORT=str(metrics)),
                ready=lambda: answers_ready(metrics, LOOPBACK, LIVE),
            ),
            laboratory.module(
                "api",
                "api",
                environment=environment(KAGUAN_API__PORT=str(port)),
                ready=lambda: answers_ready(port, LOOPBACK),
            ),
            # 最后起：先备好的活，从它起来才开始动
            laboratory.module("relay", "relay", environment=environment()),
        ]
        started = {
            program.name: await stack.enter_async_context(running(program, laboratory.directory))
            for program in programs
        }
        processes = {name: each.process.pid for name, each in started.items()}
        yield Stack(port, {**laboratory.servers, **processes}, started["worker"])


@asynccontextmanager
async def otlp_sink(laboratory: Laboratory, name: str) -> AsyncIterator[str]:
    """跨度的接收端；给出它的地址。"""
    port = own_port()
    program = laboratory.module(
        f"otlp-{name}", "tests.bench.otlp_sink", str(port), environment={}, ready=lambda: is_listening(port)
    )
    async with running(program, laboratory.directory):
        yield f"http://{LOOPBACK}:{port}"
