"""投递的几行：真实的 relay、worker、API 进程，出厂的节拍。"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import AsyncExitStack
from functools import partial
from statistics import median

import aiohttp
import psycopg
from redis.asyncio import Redis

from kaguan.config import load_settings
from kaguan.config.model import Relay
from kaguan.database.pool import open_pool
from kaguan.dev.postgres import DATABASE
from kaguan.flow.probes import LOOPBACK
from kaguan.outbox.deliver.scan_throttle import THRIFT
from tests.attacks.attempts import EMAIL
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load
from tests.bench.processes import running
from tests.bench.steady import open_steady
from tests.checklist.api import MAIL, NONE, asking
from tests.checklist.figures import Bound, Figure, percentile
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, OPEN, Child, child, local, own_valkey
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port

PUBLISHED = 1_000
ROUNDS = 20
RATE = 100.0  # 每秒
SLICES, SLICE = 16, 4.0  # 轮流施压：各几段、各几秒
POLL = 0.05  # 秒
QUEUED = "select count(*) from vw_task where status <> 'queued'"
QUICK_MAIL = {**MAIL, "subject": "quick"}


async def redis_wiped(laboratory: Laboratory, token: str) -> list[Figure]:
    """6：一千个都交出了；Redis 被 kill -9，没有 AOF；worker 在它回来的那一刻才起。"""
    async with AsyncExitStack() as stack:
        server, process = await stack.enter_async_context(own_valkey(laboratory.directory))
        given = {"KAGUAN_REDIS__URL": server.url, "KAGUAN_RELAY__WINDOW": str(PUBLISHED)}
        await laboratory.clean()
        await laboratory.execute(EFFECT_TABLE)
        environment = laboratory.environment(**given)
        _, book = await stack.enter_async_context(asking(laboratory, token, **given))
        await stack.enter_async_context(child("relay", environment, laboratory.directory / "relay.log"))
        submitted = book()
        for _ in range(PUBLISHED // 50):
            await asyncio.gather(*(submitted.ask("POST", EMAIL, QUICK_MAIL) for _ in range(50)))

        async def every_one_published() -> bool:
            return await laboratory.number(QUEUED) == 0

        await eventually(every_one_published)
        await process.stop(signal.SIGKILL)
        await process.start()
        since = time.monotonic()
        worker = laboratory.directory / "worker.log"
        await stack.enter_async_context(child("tests.support.fault_worker", environment, worker))

        async def all_done() -> bool:
            return await laboratory.number(OPEN) == 0

        await eventually(all_done)
        seconds = time.monotonic() - since
        effects = await laboratory.execute("select count(distinct task_id), count(*) from fault_effect")
    return [
        Figure(6, f"{PUBLISHED} 个交出之后清空：回来到全部生效", seconds, Bound(" 秒", most=15)),
        Figure(6, "没有生效或重复生效的", abs(PUBLISHED - effects[0][0]) + abs(PUBLISHED - effects[0][1]), NONE),
    ]


async def listener_cut(laboratory: Laboratory, token: str) -> list[Figure]:
    """40：监听的连接一断，立刻受理一个：受理到交出，PostgreSQL 的钟。"""
    interval = Relay().poll_interval
    await laboratory.clean()
    async with (
        asking(laboratory, token) as (_, book),
        child("relay", laboratory.environment(), laboratory.directory / "relay.log"),
        Redis.from_url(laboratory.redis_url) as redis,
    ):
        cut = 0
        for number in range(ROUNDS):
            await eventually(lambda: subscribed(redis))
            cut += await redis.client_kill_filter(_type="pubsub")
            await book().ask("POST", EMAIL, MAIL)

            async def queued(count: int = number + 1) -> bool:
                return await laboratory.number("select count(*) from vw_task where queued_at is not null") == count

            await eventually(queued)
    waits = await laboratory.execute("select extract(epoch from queued_at - created_at)::float8 from vw_task")
    return [
        Figure(
            40,
            f"监听断了再受理：最久多久交出（{ROUNDS} 次）",
            max(wait for (wait,) in waits),
            Bound(" 秒", most=interval),
        ),
        Figure(40, "断掉的监听", cut, Bound(" 个", least=ROUNDS)),
    ]


async def subscribed(redis: Redis) -> bool:
    return any(one["cmd"].startswith("subscribe") for one in await redis.client_list(_type="pubsub"))


async def pinned_snapshot(laboratory: Laboratory, token: str, seconds: float) -> list[Figure]:
    """39：别人的快照一直开着，旁边每秒一百个的稳态；另起一个 relay 的转交循环，它扑空的每一次轮询都掐表。"""
    await laboratory.clean()
    settings = load_settings(laboratory.environment())
    polls: list[float] = []

    async def polling() -> None:
        async with (
            open_pool(settings.database, "poll", planned_once=True) as pool,
            open_pipeline(settings, pool, THRIFT) as pipeline,
        ):
            while True:
                since = time.perf_counter()
                if not await pipeline.forwarder.run_once():
                    polls.append(time.perf_counter() - since)
                await asyncio.sleep(POLL)

    async with open_steady(laboratory, Load(laboratory, token)) as steady:
        await steady.warm(RATE)
        async with await psycopg.AsyncConnection.connect(laboratory.database_url()) as reader:
            await reader.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await reader.execute("set idle_in_transaction_session_timeout = 0")
            await reader.commit()
            await reader.execute("select count(*) from vw_task")
            async with alongside(polling(), "poll"):
                await steady.press(RATE, seconds)
            ((dead,),) = await laboratory.administer(
                "select sum(n_dead_tup)::int from pg_stat_user_tables", database=DATABASE
            )
            await reader.rollback()
        await steady.settled()
    what = f"快照开着 {seconds / 60:g} 分钟，{RATE:g}/s，{dead:,} 个死行：轮询 p99（{len(polls)} 次）"
    return [Figure(39, what, percentile(polls, 0.99) * 1_000, Bound(" 毫秒", under=20))]


async def silent_collector(laboratory: Laboratory, token: str) -> list[Figure]:
    """56：两个 API，一个的跟踪有人收，一个的收下连接再不出声；全部采样，轮流同样地施压。"""
    await laboratory.clean()
    load = Load(laboratory, token)
    async with AsyncExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind((LOOPBACK, 0))
        silent.listen()
        port = own_port()
        sink = laboratory.module("sink", "tests.bench.otlp_sink", str(port), environment={})
        await stack.enter_async_context(running(sink, laboratory.directory))
        ports: list[int] = []
        apis: list[Child] = []
        for collector in (port, silent.getsockname()[1]):
            ports.append(own_port())
            environment = laboratory.environment(
                KAGUAN_API__PORT=str(ports[-1]),
                KAGUAN_TELEMETRY__SAMPLE_RATIO="1",
                OTEL_EXPORTER_OTLP_ENDPOINT=local(collector),
            )
            log = laboratory.directory / f"traced-{len(apis)}.log"
            apis.append(await stack.enter_async_context(child("api", environment, log)))
        client = await stack.enter_async_context(aiohttp.ClientSession())
        for one in ports:
            await eventually(partial(is_ready, client, one))
            await load.paced(one, EMAIL, SLICE, RATE)
        medians: list[list[float]] = [[], []]
        for turn in range(2 * SLICES):
            side = (turn + turn // 2) % 2  # 甲乙乙甲：谁也不总在后面
            medians[side].append((await load.paced(ports[side], EMAIL, SLICE, RATE)).p50)
        await eventually(lambda: dropped(client, ports[1]))
        lost = await dropped(client, ports[1])
        codes = [await api.stopped() for api in apis]
    sound, deaf = (median(side) for side in medians)
    return [
        Figure(
            56, f"p50：{deaf:.2f} ÷ {sound:.2f} 毫秒（{RATE:g}/s，各 {SLICES} 段）", deaf / sound, Bound("", most=1.05)
        ),
        Figure(56, "计了数的丢掉的跨度", lost, Bound(" 个", least=1)),
        Figure(56, "停机", apis[1].stopping, Bound(" 秒", most=30)),
        Figure(56, "退出码不是 0 的", len([code for code in codes if code]), NONE),
    ]


async def is_ready(client: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with client.get(f"{local(port)}/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def dropped(client: aiohttp.ClientSession, port: int) -> float:
    async with client.get(f"{local(port)}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("kaguan_spans_dropped_total "))
