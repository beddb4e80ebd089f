"""一整队进程的连接池，PostgreSQL 真的重启；断了怎样连回来算一拥而上。"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import psycopg

from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import server_identity
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Server
from tests.support.alongside import alongside
from tests.support.crowding import crowd, ticking
from tests.support.eventually import eventually
from tests.support.fault_plant import own_directory, through
from tests.support.places import own_port
from tests.support.servers import DISPOSABLE, told

FLEET, SIZE = 20, 5  # 几个池，各几条
CONNECTIONS = FLEET * SIZE
AWAY = 1.0  # 秒
STEP = 0.1  # 秒；一个步子
# 忙着的两个核上量过：错开的一秒里 62 到 71 次、一步里 6 到 8 次；不等的一秒里 100 次起，歇得一样久的一步里 16 次起
SECOND_MOST, STEP_MOST = 84, 13


@dataclass(frozen=True, slots=True)
class Return:
    """``total``：一共来连几次；``second``：最挤的一秒里几次；``step``：起来之后最挤的 :data:`STEP` 秒里几次。"""

    total: int
    second: float
    step: float

    @property
    def at_once(self) -> bool:
        return self.second > SECOND_MOST

    @property
    def in_step(self) -> bool:
        return self.step > STEP_MOST


async def keep_asking(pool: Pool) -> None:
    while True:
        with suppress(psycopg.Error):  # 断着的时候做不成都行：数的是重连
            async with pool.connection() as connection:
                await connection.execute("select 1")
        await asyncio.sleep(0.05)  # 客户端的节拍


async def restarted(environ: Mapping[str, str]) -> Return:
    """二十个池、一百条连接，都有人在用；等到都回来。"""
    async with AsyncExitStack() as stack:
        process, proxy, url = await stack.enter_async_context(_server())
        sizes = {"KAGUAN_DATABASE__POOL_MIN": str(SIZE), "KAGUAN_DATABASE__POOL_MAX": str(SIZE)}
        config = load_settings({**environ, **sizes, "KAGUAN_DATABASE__URL": url}).database
        pools = [await stack.enter_async_context(open_pool(config, "test")) for _ in range(FLEET)]

        def all_full() -> bool:
            return all(pool.get_stats()["pool_available"] >= SIZE - 1 for pool in pools)

        await eventually(all_full)
        proxy.accepted.clear()
        ticks = await stack.enter_async_context(ticking())
        for number, pool in enumerate(pools):
            await stack.enter_async_context(alongside(keep_asking(pool), f"asking-{number}"))
        await process.restart(signal.SIGINT, AWAY)
        started = asyncio.get_running_loop().time()
        await eventually(all_full)
        back = [moment for moment in proxy.accepted if moment >= started]
        return Return(len(proxy.accepted), crowd(proxy.accepted, ticks, 1.0), crowd(back, ticks, STEP))


@asynccontextmanager
async def _server() -> AsyncIterator[tuple[Server, Proxy, str]]:
    """自己的一个服务器，与通往它的代理。"""
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
        yield process, proxy, through(server.url, server.port, proxy.port)
