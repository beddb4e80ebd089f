"""relay、worker 的指标口，与后台采样，都对真实的服务器。"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.config.model import Logging
from kaguan.database.pool import Pool
from kaguan.logging.setup import APP_LOG, configure_logging
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.vocabulary import Priority
from kaguan.telemetry.exposition import serve_metrics
from kaguan.telemetry.monitor import Monitor, worst_lag
from kaguan.telemetry.pools import database_figures
from tests.support.eventually import PATIENCE, eventually
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def test_metrics_and_liveness_are_served() -> None:
    metrics, port = Metrics(), own_port()
    metrics.leases_lost.inc()
    async with serve_metrics(metrics.registry, "127.0.0.1", port), aiohttp.ClientSession() as client:
        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with client.get(f"http://127.0.0.1:{port}/metrics", headers=headers) as response:
            assert response.content_type == "application/openmetrics-text"
            body = await response.text()
        async with client.get(f"http://127.0.0.1:{port}/health/live") as response:
            assert await response.json() == {"status": "ok"}
    assert "kaguan_leases_lost_total 1.0" in body
    assert body.endswith("# EOF\n")


def listening() -> set[int]:
    """本进程在听的 TCP 端口。"""
    found = set()
    for entry in filter(Path.is_socket, Path("/dev/fd").iterdir()):
        with socket.socket(fileno=os.dup(int(entry.name))) as opened:
            if opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and opened.family == socket.AF_INET:
                found.add(opened.getsockname()[1])
    return found


async def test_without_a_port_nothing_is_served() -> None:
    metrics, before, port = Metrics(), listening(), own_port()
    async with serve_metrics(metrics.registry, "127.0.0.1", None):
        assert listening() == before
    async with serve_metrics(metrics.registry, "127.0.0.1", port):
        assert listening() == before | {port}


async def test_pool_figures_follow_the_connections(pool: Pool, redis: Redis) -> None:
    registry = CollectorRegistry()
    monitor = Monitor(registry, pool, redis, pool_interval=60)
    await redis.get("anything")
    await pool.wait()
    async with pool.connection():
        await eventually(lambda: database_figures(pool).in_use == 1)  # 池可能还在多开一个
        monitor.run_once()
        assert figure(registry, "database", "in_use") == 1
    await eventually(lambda: database_figures(pool).in_use == 0)  # 池在后台收回连接
    monitor.run_once()
    assert figure(registry, "database", "in_use") == 0
    assert figure(registry, "database", "open") == figure(registry, "database", "idle") >= 1
    assert figure(registry, "database", "waiting") == 0
    assert figure(registry, "redis", "open") == 1
    assert figure(registry, "redis", "idle") == 1


async def test_a_waiting_request_is_seen(pool: Pool) -> None:
    registry = CollectorRegistry()
    monitor = Monitor(registry, pool, None, pool_interval=60)
    held = [await pool.getconn() for _ in range(pool.max_size)]
    waiter = asyncio.create_task(pool.getconn())
    await asyncio.sleep(0)
    monitor.run_once()
    assert figure(registry, "database", "waiting") == 1
    await pool.putconn(held.pop())
    for connection in [*held, await waiter]:
        await pool.putconn(connection)


def figure(registry: CollectorRegistry, pool: str, state: str) -> float:
    value = registry.get_sample_value(f"kaguan_{pool}_pool_connections", {"state": state})
    assert value is not None
    return value


async def test_the_pool_line_is_logged_once_per_interval(pool: Pool, redis: Redis, tmp_path: Path) -> None:
    with configure_logging(Logging(directory=tmp_path), "test"):
        monitor = Monitor(CollectorRegistry(), pool, redis, pool_interval=60)
        assert [monitor.run_once(), monitor.run_once()] == [1, 0]
    lines = [json.loads(line) for line in (tmp_path / APP_LOG).read_text("utf-8").splitlines()]
    (line,) = [line for line in lines if line["event"] == "连接池"]
    assert set(line["database"]) == set(line["redis"]) == {"open", "in_use", "idle", "waiting"}


async def test_dropped_spans_are_counted_once(pool: Pool) -> None:
    """导出那边是自启动的累计，指标是计数器：每次只加新丢的。"""
    counts = iter((0, 3, 3, 5))
    registry = CollectorRegistry()
    monitor = Monitor(registry, pool, None, pool_interval=60, dropped=lambda: next(counts))
    totals: list[float | None] = []
    for _ in range(4):
        monitor.run_once()
        totals.append(registry.get_sample_value("kaguan_spans_dropped_total"))
    assert totals == [0, 3, 3, 5]


async def test_the_backlog_is_measured_by_queue(settings: Settings, pool: Pool) -> None:
    """是每个 relay 的一个循环：别的应用也有这些量表。"""
    async with open_pipeline(settings, pool) as pipeline:
        for queue in (Priority.LOW, Priority.LOW, Priority.CRITICAL):
            await pipeline.submit(queue=queue)
        await pipeline.sql("update tb_outbox set available_at = now() - interval '90 seconds' where priority = 0")
        assert await pipeline.relay.loops["backlog"].run_once() == 0
    sample = pipeline.metrics.registry.get_sample_value
    assert [sample("kaguan_outbox_backlog", {"queue": queue}) for queue in Priority] == [1, 0, 2]
    oldest = sample("kaguan_outbox_oldest_pending_seconds", {"queue": "critical"})
    assert oldest is not None
    assert oldest >= 90
    assert sample("kaguan_outbox_oldest_pending_seconds", {"queue": "default"}) == 0
    assert sample("kaguan_outbox_parked_rows") == 0
    assert sample("kaguan_tasks_unsettled", {"status": "queued"}) == 0


async def test_a_blocked_loop_is_seen() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def block() -> None:
        until = loop.time() + 0.4
        while loop.time() < until:
            pass

    loop.call_soon(block)  # 探的人一等就轮到它
    assert await worst_lag(stop) > 0.1


async def test_the_monitor_stops_when_asked(pool: Pool) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(Monitor(CollectorRegistry(), pool, None, pool_interval=60).run(stop))
    stop.set()
    await asyncio.wait_for(task, PATIENCE)
