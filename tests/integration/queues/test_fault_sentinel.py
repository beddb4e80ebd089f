"""Redis 的切换，真的哨兵：主被杀、尾巴丢了、旧主回来成了从；受理、交出、取件、限额都跟着新的主走（FAULTS.md 70）。"""

from __future__ import annotations

import asyncio
import itertools
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool
from kaguan.flow.probes import LOOPBACK
from kaguan.outbox.accept.doorbell import listen
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome
from kaguan.presence.beat import Presence
from kaguan.queues.client import QueueUnavailableError, open_redis, wait_for_redis
from kaguan.queues.keys import PRESENCE_BEATS
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, QUICK, Effects, all_closed, effects, own_directory, relaying
from tests.support.pipeline import open_pipeline
from tests.support.sentinel import PASSWORD, SERVICE, Node, Watched, cut_off, tell, watched
from tests.support.serving import Api, serving

CLIENTS = 2
MORE = 20  # 每一段至少再受理这么多
CUT = 10  # 丢掉的尾巴里至少受理这么多；断开得久了，哨兵就不肯提升从库
PAUSE = 0.05  # 秒；一个客户端两次请求之间
REDRIVEN = """
    select task_id::text from tb_task_event
    where kind = 'redriven' and detail->>'cause' in ('redis_lost_data', 'queue_forgot')
"""
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}


@dataclass(slots=True)
class Load:
    """几个不停受理的客户端；Redis 不在也没有一个被拒。"""

    api: Api
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    promised: set[str] = field(default_factory=set)

    async def client(self) -> None:
        while not self.stop.is_set():
            reply = await self.api.post("/tasks/email", MAIL)
            assert reply.code == 0, reply.text
            self.promised.add(reply.data["task_id"])
            await asyncio.sleep(PAUSE)

    async def more(self, count: int = MORE) -> None:
        before = len(self.promised)
        await eventually(lambda: len(self.promised) >= before + count)


def by_sentinels(environ: dict[str, str], group: Watched) -> Settings:
    return load_settings({**environ, **QUICK, "KAGUAN_REDIS__URL": group.url(), "KAGUAN_REDIS__CONNECT_TIMEOUT": "1"})


async def counted(node: Node) -> bool:
    """限额与心跳都记在它那里。"""
    async with Redis.from_url(node.valkey.url) as client:
        rates = [key async for key in client.scan_iter("kaguan:rate*")]
        return bool(rates) and await client.exists(PRESENCE_BEATS) == 1


@dataclass(slots=True)
class Held:
    """处理器：``flowing`` 之前不做完，槽位占满，后来的就留在 Redis 里。"""

    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    effects: Effects = field(default_factory=partial(Effects, 0.1))
    inside: int = 0

    async def __call__(self, attempt: Attempt) -> Outcome:
        self.inside += 1
        try:
            await self.flowing.wait()
            return await self.effects(attempt)
        finally:
            self.inside -= 1


async def waiting_in(node: Node, tasks: set[str]) -> set[str]:
    """``tasks`` 里，投递在它的队列里等着的。"""
    async with Redis.from_url(node.valkey.url) as client:
        jobs = [job.decode() for job in await client.lrange("saq:default:queued", 0, -1)]  # type: ignore[misc] # redis-py 的类型把同步与异步混在一起
    return {task for task in tasks if any(task in job for job in jobs)}


async def test_everything_follows_a_failover_under_load_and_what_its_lost_tail_held_is_done_once(
    environ: dict[str, str], pool: Pool
) -> None:
    """主与它身边的一个哨兵一起死；从库先与它断开，断开之后写下的都丢了：里面真有投递，都重投了。"""
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(watched(stack.enter_context(own_directory())))
        settings = by_sentinels(environ, group)
        api = await stack.enter_async_context(serving(settings))
        await api.rows(EFFECT_TABLE)
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        woken = await stack.enter_async_context(relaying(pipeline))
        await stack.enter_async_context(alongside(listen(pipeline.redis, woken.set), "bell"))
        await stack.enter_async_context(Presence(pipeline.redis, "api", interval=0.2).beating())
        worker = Held()
        worker.flowing.set()
        await stack.enter_async_context(pipeline.working(worker))
        load = Load(api)
        clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
        old = group.nodes[0]
        await load.more()
        await eventually(partial(counted, old))
        worker.flowing.clear()
        full = settings.worker.concurrency - settings.worker.kept_free
        await eventually(lambda: worker.inside >= full)  # 还有空着的槽位，等着的就会被取走；断开之后来不及占
        await cut_off(old)
        before = set(load.promised)
        await load.more(CUT)

        async def handed_over() -> set[str]:
            waiting = await waiting_in(old, load.promised - before)
            queued = await pipeline.sql("select id::text from vw_task where status = 'queued'")
            return waiting & {task_id for (task_id,) in queued}

        tail = await eventually(handed_over)
        await asyncio.gather(old.process.stop(signal.SIGKILL), group.sentinels[0].stop(signal.SIGKILL))
        worker.flowing.set()
        new = await group.moved(old)
        await load.more()
        await eventually(partial(counted, new))
        await old.process.start()  # 空着回来，成了从
        await load.more()
        load.stop.set()
        await asyncio.gather(*clients)
        await eventually(partial(all_closed, pipeline))
        done = await pipeline.sql("select id::text from vw_task where status = 'succeeded'")
        assert {task_id for (task_id,) in done} == load.promised
        assert await effects(pipeline) == (len(done), len(done))
        redriven = await pipeline.sql(REDRIVEN)
        assert tail & {task_id for (task_id,) in redriven}


@pytest.mark.parametrize("demoted", [True, False], ids=["demoted", "healthy"])
async def test_connections_leave_a_master_that_the_sentinels_no_longer_name(
    environ: dict[str, str], *, demoted: bool
) -> None:
    """没有谁断我们的连接：成了从的，写一次就知道；自以为还是主的，隔几秒问哨兵才知道。"""
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(watched(stack.enter_context(own_directory()), sentinels=1))
        settings = by_sentinels(environ, group)
        client = await stack.enter_async_context(open_redis(settings.redis))
        await wait_for_redis(client, settings.redis)
        old, new = group.nodes
        sentinel = await stack.enter_async_context(Redis(host=LOOPBACK, port=group.ports[0], password=PASSWORD))
        promoted = await stack.enter_async_context(Redis.from_url(new.valkey.url))
        await tell(sentinel, "SENTINEL", "REMOVE", SERVICE)
        await promoted.replicaof("NO", "ONE")
        if demoted:
            async with Redis.from_url(old.valkey.url) as direct:
                await direct.replicaof(*new.address)
        await tell(sentinel, "SENTINEL", "MONITOR", SERVICE, *new.address, 1)
        await tell(sentinel, "SENTINEL", "SET", SERVICE, "auth-pass", new.secret)

        async def written_there() -> bool:
            name = next(names)
            try:
                async with client.pipeline(transaction=False) as pipe:
                    pipe.set(name, 1)
                    await pipe.execute()
            except RedisError:
                return False
            return bool(await promoted.exists(name))

        names = (f"name-{number}" for number in itertools.count())
        await eventually(written_there)


async def test_sentinels_that_know_no_master_are_told_in_one_line_without_a_password(environ: dict[str, str]) -> None:
    environ = {**environ, "KAGUAN_REDIS__CONNECT_ATTEMPTS": "1", "KAGUAN_REDIS__CONNECT_TIMEOUT": "0.5"}
    url = f"redis+sentinel://:quiet-harbour-71@{LOOPBACK}:1,{LOOPBACK}:2/main?sentinel_password={PASSWORD}"
    config = load_settings({**environ, "KAGUAN_REDIS__URL": url}).redis
    async with open_redis(config) as client:
        with pytest.raises(QueueUnavailableError, match="没有一个哨兵说得出 main 的主") as refusal:
            await wait_for_redis(client, config)
    assert "\n" not in str(refusal.value)
    assert "quiet-" not in str(refusal.value)
