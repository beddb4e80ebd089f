"""一千次随机取消：命令断在半途，连接不许串话，也不许漏掉（FAULTS.md 45）。"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable

from kaguan.config import load_settings
from kaguan.database.engine import engine_on
from kaguan.database.pool import Pool, open_pool
from kaguan.queues.client import open_redis
from tests.support.eventually import PATIENCE
from tests.support.records import Record

ASKED = int(os.environ.get("KAGUAN_FAULT_ASKED", "500"))  # 每一边问这么多；断掉一千个：3000
CONNECTIONS = 5
CROWD = 3 * CONNECTIONS  # 同时问的
ASK_TIMEOUT = 30.0  # 秒


async def cancelled_at_random(ask: Callable[[int], Awaitable[int]], seed: int) -> int:
    """一轮发出 :data:`ASKED` 个带号的问题，随机掐断；没断的必须答自己的号。断了的、答了的都有了好些个，才返回断了几个。

    一圈要多久，每轮重新量：量的时候恰好卡了一下，就再来一轮。
    """
    source = random.Random(seed)
    gate = asyncio.Semaphore(CROWD)
    await asyncio.gather(*(ask(number) for number in range(CROWD)))  # 连接先开好：开连接比问一句久得多
    cut = answered = 0

    async def one(number: int, longest: float) -> None:
        nonlocal cut, answered
        async with gate:
            task = asyncio.ensure_future(ask(number))
            await asyncio.wait({task}, timeout=source.uniform(0, 1.5 * longest))
            task.cancel()
            try:
                assert await task == number
                answered += 1
            except asyncio.CancelledError:
                cut += 1

    async with asyncio.timeout(PATIENCE):
        while min(cut, answered) <= ASKED // 50:
            began = time.monotonic()
            await asyncio.gather(*(ask(number) for number in range(CROWD)))
            lap = time.monotonic() - began  # 期限与一圈相当：取消因此落在每一步上，机器快慢都一样
            await asyncio.gather(*(one(number, lap) for number in range(ASKED)))
    return cut


async def everyone_answers(ask: Callable[[int], Awaitable[int]]) -> None:
    """之后的问题一个个都答得对：没有人收到上一位的回音，名额也一个不少。"""
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*(ask(number) for number in range(1_000, 1_100))) == list(range(1_000, 1_100))


async def test_cancelled_redis_commands_neither_cross_nor_leak(
    environ: dict[str, str], record_property: Record
) -> None:
    settings = load_settings(environ)
    async with open_redis(settings.redis, connections=CONNECTIONS, acquire_timeout=PATIENCE) as client:

        async def echo(number: int) -> int:
            async with client.pipeline(transaction=False) as pipe:
                pipe.set(f"n:{number}", number, px=60_000)
                pipe.get(f"n:{number}")
                return int((await pipe.execute())[1])

        cut = await cancelled_at_random(echo, 45)
        record_property("断在半途的 Redis 命令", cut)
        await everyone_answers(echo)
        # 每个名额都还借得出来
        pool = client.connection_pool
        held = [await asyncio.wait_for(pool.get_connection(), PATIENCE) for _ in range(CONNECTIONS)]  # type: ignore[no-untyped-call] # redis-py 没有这里的类型
        for connection in held:
            await pool.release(connection)


async def test_cancelled_postgresql_statements_neither_cross_nor_leak(
    environ: dict[str, str], record_property: Record
) -> None:
    settings = load_settings({**environ, "KAGUAN_DATABASE__POOL_MAX": str(CONNECTIONS)})
    async with open_pool(settings.database, "test") as pool:

        async def select(number: int) -> int:
            async with pool.connection() as connection, connection.transaction():
                cursor = await connection.execute("select %s::int", (number,))
                row = await cursor.fetchone()
                assert row is not None
                return int(row[0])

        cut = await cancelled_at_random(select, 46)
        record_property("断在半途的 PostgreSQL 语句", cut)
        await everyone_answers(select)
        await every_place_is_free(pool)


async def test_cancelled_sqlalchemy_statements_neither_cross_nor_leak(
    environ: dict[str, str], record_property: Record
) -> None:
    settings = load_settings({**environ, "KAGUAN_DATABASE__POOL_MAX": str(CONNECTIONS)})
    async with open_pool(settings.database, "test") as pool:
        engine = engine_on(pool)

        async def select(number: int) -> int:
            async with engine.begin() as connection:
                row = (await connection.exec_driver_sql(f"select {int(number)}")).one()
                return int(row[0])

        cut = await cancelled_at_random(select, 47)
        record_property("断在半途的 SQLAlchemy 语句", cut)
        await everyone_answers(select)
        await engine.dispose()
        await every_place_is_free(pool)


async def every_place_is_free(pool: Pool) -> None:
    held = [await pool.getconn(ASK_TIMEOUT) for _ in range(CONNECTIONS)]
    assert [connection.info.transaction_status.name for connection in held] == ["IDLE"] * CONNECTIONS
    for connection in held:
        await pool.putconn(connection)
