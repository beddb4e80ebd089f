"""PostgreSQL 重启之后，一整队进程回来：重连错开，不一拥而上。"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, suppress

import psycopg

from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Server
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.fault_plant import own_directory, through
from tests.support.places import own_port
from tests.support.servers import DISPOSABLE, told

FLEET, SIZE = 20, 5  # 几个池，各几条


async def test_a_fleet_that_meets_a_restarted_server_does_not_come_back_in_step(environ: dict[str, str]) -> None:
    """二十个池、一百条连接，真的重启：数每一秒里来敲门的。"""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        place, password = directory / "postgres", directory / "password"
        server = PostgresServer(place, password, own_port(), server_identity())
        await server.prepare()
        process = Server(told(server.program(), DISPOSABLE), directory / "log")
        await process.start()
        stack.push_async_callback(process.stop)
        proxy = Proxy(server.port)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        sizes = {"KAGUAN_DATABASE__POOL_MIN": str(SIZE), "KAGUAN_DATABASE__POOL_MAX": str(SIZE)}
        url = through(server.url, server.port, proxy.port)
        config = load_settings({**environ, **sizes, "KAGUAN_DATABASE__URL": url}).database
        pools = [await stack.enter_async_context(open_pool(config, "test")) for _ in range(FLEET)]

        async def keep_asking(pool: Pool) -> None:
            while True:
                with suppress(psycopg.Error):
                    async with pool.connection() as connection:
                        await connection.execute("select 1")
                await asyncio.sleep(0.05)

        def all_full() -> bool:
            return all(pool.get_stats()["pool_available"] >= SIZE - 1 for pool in pools)

        await eventually(all_full, timeout=30)
        proxy.accepted.clear()
        for number, pool in enumerate(pools):
            await stack.enter_async_context(alongside(keep_asking(pool), f"asking-{number}"))
        await process.restart(signal.SIGINT, away=1.0)
        await eventually(all_full, timeout=60)
        connections = FLEET * SIZE
        assert len(proxy.accepted) > connections  # 都断了，都回来了
        assert proxy.busiest(seconds=1.0) < 0.85 * connections
        assert proxy.busiest(seconds=0.1) < 0.6 * connections  # 齐步的几乎是全部；机器一忙，错开的也会挤一些
