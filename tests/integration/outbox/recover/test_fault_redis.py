"""Redis 一侧的故障：被杀得干净、切换丢了尾巴、满了、只读、SAQ 的清扫半途死去或看走眼（FAULTS.md 6–8、41、42）。"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from saq.job import Status
from saq.queue.redis import RedisQueue
from saq.utils import now

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.dev.valkey import ValkeyServer
from kaguan.flow.probes import LOOPBACK
from kaguan.outbox.deliver.deliveries import KaguanQueue
from kaguan.outbox.deliver.forward import HELD
from kaguan.outbox.vocabulary import Priority
from tests.chaos.proxy import Proxy
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Effects,
    all_closed,
    child,
    effects,
    only_kaguan,
    own_directory,
    own_valkey,
    port_of,
    relaying,
    through,
)
from tests.support.pipeline import Pipeline, duplicates, open_pipeline

PUBLISHED = int(os.environ.get("KAGUAN_FAULT_PUBLISHED", "100"))  # 长的那一场：1000
TAIL = 20
SWEPT = 15
HOUR = 3_600_000  # 毫秒
NEVER = 5 * PATIENCE  # 秒


@pytest.fixture
def directory() -> Iterator[Path]:
    with own_directory() as made:
        yield made


async def open_on(stack: AsyncExitStack, environ: dict[str, str], pool: Pool, url: str) -> Pipeline:
    settings = load_settings({**environ, **QUICK, "KAGUAN_REDIS__URL": url})
    pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
    await pipeline.sql(EFFECT_TABLE)
    return pipeline


async def forward_all(pipeline: Pipeline) -> None:
    while await pipeline.forwarder.run_once():
        pass


async def in_redis(pipeline: Pipeline) -> int:
    return sum([await queue.count("incomplete") for queue in pipeline.queues.values()])


# ---- 丢了数据


async def test_everything_published_survives_a_redis_killed_without_persistence(
    environ: dict[str, str], pool: Pool, directory: Path
) -> None:
    async with AsyncExitStack() as stack:
        server, process = await stack.enter_async_context(own_valkey(directory))
        pipeline = await open_on(stack, environ, pool, server.url)
        assert await pipeline.epoch.run_once() == 0
        await pipeline.submit(PUBLISHED)
        await forward_all(pipeline)
        assert await in_redis(pipeline) > 0
        assert await pipeline.sql("select status, count(*) from vw_task group by 1") == [("queued", PUBLISHED)]
        await process.restart(signal.SIGKILL, 0.0)
        assert await in_redis(pipeline) == 0
        assert await pipeline.epoch.run_once() > 0  # 换了纪元；核对若先转一圈，也收得回，说的是别的缘由
        async with pipeline.working(Effects()), relaying(pipeline):
            await eventually(lambda: all_closed(pipeline))
        assert await effects(pipeline) == (PUBLISHED, PUBLISHED)
        causes = await pipeline.sql("select distinct detail->>'cause' from tb_task_event where kind = 'redriven'")
        assert ("redis_lost_data",) in causes


async def test_a_redis_that_does_not_answer_is_not_waited_for_with_rows_locked(
    environ: dict[str, str], pool: Pool, directory: Path
) -> None:
    """套接字的时限放得再宽，行也不锁到那时：另一个 relay、要取消的人都在等它。"""
    environ = {**environ, "KAGUAN_REDIS__SOCKET_TIMEOUT": str(NEVER)}
    async with AsyncExitStack() as stack:
        server, process = await stack.enter_async_context(own_valkey(directory))
        pipeline = await open_on(stack, environ, pool, server.url)
        pipeline.forwarder.held = HELD
        await pipeline.submit()
        assert process.process is not None
        process.process.send_signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await pipeline.forwarder.run_once()
        assert await pipeline.sql("select 1 from tb_outbox for update nowait") == [(1,)]
        process.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(PATIENCE):
            assert await pipeline.forwarder.run_once() == 1


async def test_a_failover_that_loses_its_tail_loses_no_task_and_repeats_no_effect(
    environ: dict[str, str], pool: Pool, directory: Path
) -> None:
    """复制断了之后：一批做完的在副本里仍在排队，一批交出的副本从未见过。纪元复制了过去，历史换了才看得出。"""
    async with AsyncExitStack() as stack:
        primary, primary_process = await stack.enter_async_context(own_valkey(directory))
        replica, _ = await stack.enter_async_context(own_valkey(directory))
        line, copying = Proxy(primary.port), Proxy(primary.port)
        for proxy in (line, copying):
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        heir = await stack.enter_async_context(Redis.from_url(replica.url))
        await follow(primary, heir, copying.port)
        pipeline = await open_on(stack, environ, pool, through(primary.url, primary.port, line.port))
        assert await pipeline.epoch.run_once() == 0
        await pipeline.submit(TAIL)
        await forward_all(pipeline)
        await eventually(lambda: same_length(pipeline, heir))
        before = await in_redis(pipeline)
        assert before > 0
        copying.blackhole()
        async with pipeline.working(Effects()), relaying(pipeline):
            await eventually(lambda: all_closed(pipeline))
        await pipeline.submit(TAIL)
        await forward_all(pipeline)

        await primary_process.stop(signal.SIGKILL)
        await heir.replicaof("NO", "ONE")
        line.target = replica.port
        line.cut()
        assert await settled(pipeline.epoch.run_once) == TAIL  # 副本从未见过的那一批
        assert await in_redis(pipeline) == before  # 副本停在断开之前：做完的还在，后来的没有
        async with pipeline.working(Effects()), relaying(pipeline):
            await eventually(lambda: all_closed(pipeline))
        assert await effects(pipeline) == (2 * TAIL, 2 * TAIL)


async def follow(primary: ValkeyServer, replica: Redis, port: int) -> None:
    await replica.config_set("masterauth", primary.password_file.read_text("utf-8").strip())
    await replica.replicaof(LOOPBACK, port)

    async def linked() -> bool:
        link: str = (await replica.info("replication"))["master_link_status"]
        return link == "up"

    await eventually(linked)


async def same_length(pipeline: Pipeline, replica: Redis) -> bool:
    copied: int = await replica.zcard("saq:default:incomplete")
    return await in_redis(pipeline) == copied


async def settled(run_once: object) -> int:
    """切换后的第一个命令可能正撞上断开的旧连接：再来一次。"""
    assert callable(run_once)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return int(await run_once())
            except RedisConnectionError:
                await asyncio.sleep(0.1)


# ---- 拒收


async def fill(client: Redis) -> None:
    """真的写满：上限之下塞到拒收为止。"""
    await client.config_set("maxmemory", "5mb")
    for number in range(1_000):
        try:
            await client.set(f"junk:{number}", b"x" * 100_000)
        except OutOfMemoryError:
            return
    raise AssertionError("塞不满")


async def empty(client: Redis) -> None:
    await client.delete(*[key async for key in client.scan_iter("junk:*")])
    await client.config_set("maxmemory", "0")


async def demote(client: Redis) -> None:
    await client.replicaof(LOOPBACK, 1)


async def promote(client: Redis) -> None:
    await client.replicaof("NO", "ONE")


async def refusals(client: Redis) -> int:
    """拒了几条命令：写满的与只读的。"""
    counted = await client.info("errorstats")
    return sum(counted.get(f"errorstat_{kind}", {"count": 0})["count"] for kind in ("OOM", "READONLY"))


@pytest.mark.parametrize(
    ("spoil", "heal", "error"),
    [(fill, empty, OutOfMemoryError), (demote, promote, ReadOnlyError)],
    ids=["full", "read-only"],
)
async def test_a_redis_that_refuses_writes_marks_nothing_and_takes_everything_later(
    environ: dict[str, str], pool: Pool, directory: Path, spoil: object, heal: object, error: type[Exception]
) -> None:
    assert callable(spoil)
    assert callable(heal)
    async with AsyncExitStack() as stack:
        server, _ = await stack.enter_async_context(own_valkey(directory))
        pipeline = await open_on(stack, environ, pool, server.url)
        client = await stack.enter_async_context(Redis.from_url(server.url))
        await pipeline.epoch.run_once()
        await spoil(client)
        await pipeline.submit(10)
        with pytest.raises(error):
            await pipeline.forwarder.run_once()
        assert await pipeline.sql("select status, count(*) from vw_task group by 1") == [("pending", 10)]
        async with pipeline.working(Effects()), relaying(pipeline):
            before = await refusals(client)

            async def refused_again() -> bool:
                return await refusals(client) >= before + 3

            await eventually(refused_again)  # 循环与取件各自碰几次壁
            assert await pipeline.sql("select count(*) from tb_outbox") == [(10,)]
            await heal(client)
            await eventually(lambda: all_closed(pipeline))
        assert await effects(pipeline) == (10, 10)


# ---- SAQ 的清扫


async def abandoned(pipeline: Pipeline, queue: KaguanQueue) -> str:
    """两小时前取走、标记为正在做、然后死去的 worker 留下的样子；返回它的 SAQ 号。"""
    name = await pipeline.redis.lmove(queue.namespace("queued"), queue.namespace("active"), "LEFT", "RIGHT")
    job = queue.deserialize(await pipeline.redis.get(name))
    assert job is not None
    job.status = Status.ACTIVE
    job.attempts = 1
    job.started = job.touched = now() - 2 * HOUR
    await pipeline.redis.set(name, queue.serialize(job))
    return str(name.decode())


async def test_a_sweeper_killed_between_its_abort_and_its_retry_costs_nothing(
    environ: dict[str, str], pool: Pool, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        pipeline = await open_on(stack, environ, pool, environ["KAGUAN_REDIS__URL"])
        await pipeline.epoch.run_once()
        await pipeline.submit(1)
        await forward_all(pipeline)
        queue = pipeline.queues[Priority.DEFAULT]
        await abandoned(pipeline, queue)

        async def in_no_list() -> bool:
            return [await queue.count(kind) for kind in ("queued", "active", "incomplete")] == [0, 0, 0]

        async with child("tests.support.fault_sweeper", only_kaguan(environ), tmp_path / "sweeper.log") as sweeper:
            await eventually(in_no_list)
            assert sweeper.process.returncode is None, sweeper.output
            await sweeper.kill()
        assert await in_no_list()  # SAQ 再也找不到它
        async with pipeline.working(Effects()), relaying(pipeline):
            await eventually(lambda: all_closed(pipeline))
        assert await effects(pipeline) == (1, 1)


async def test_healthy_jobs_swept_and_queued_again_take_effect_once(environ: dict[str, str], pool: Pool) -> None:
    """worker 的线路慢 50 毫秒：取走与标记之间被别人的清扫看见，当作没人做的打掉；重投的照样只生效一次。"""
    async with AsyncExitStack() as stack:
        direct = await open_on(stack, environ, pool, environ["KAGUAN_REDIS__URL"])
        port = port_of(environ["KAGUAN_REDIS__URL"])
        line = Proxy(port)
        await line.start()
        stack.push_async_callback(line.stop)
        settings = load_settings(
            {
                **environ,
                **QUICK,
                "KAGUAN_REDIS__URL": through(environ["KAGUAN_REDIS__URL"], port, line.port),
                "KAGUAN_WORKER__LEASE": "15",
            }
        )
        slow = await stack.enter_async_context(open_pipeline(settings, pool))
        await direct.epoch.run_once()
        await direct.submit(SWEPT, Priority.CRITICAL)
        await forward_all(direct)
        queue = direct.queues[Priority.CRITICAL]
        swept: list[str] = []

        async def sweeping() -> None:
            while len(swept) < SWEPT:  # 一直扫，就一直打掉：扫过的够多了就放过
                await direct.redis.delete(queue.namespace("sweep"))
                swept.extend(await RedisQueue.sweep(queue, lock=1, abort=0.01))
                await asyncio.sleep(0.01)

        line.delay = 0.05
        sweeper = asyncio.create_task(sweeping())
        try:
            async with slow.working(Effects(0.1)), relaying(direct):
                await eventually(lambda: all_closed(direct))
                sweeper.cancel()
                line.heal()
        finally:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)
        assert len(swept) > 0
        assert duplicates(slow) > 0
        assert await effects(direct) == (SWEPT, SWEPT)
