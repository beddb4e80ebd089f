"""两个主库：切换之前的那个又当起了主的，进程只跟一个；它作为备的回来，一切照旧。"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import psycopg
from redis.asyncio import Redis

from kaguan.config import load_settings
from kaguan.database.checked_pool import CheckedPool
from kaguan.database.connecting import rotated
from kaguan.database.migrate import upgrade
from kaguan.database.pool import PASSING_ERRORS, Pool, open_pool
from kaguan.presence.beat import Presence
from kaguan.product.exit_codes import ExitCode
from kaguan.queues.client import open_redis
from tests.e2e.stack import kaguan
from tests.support.eventually import INTERVAL, PATIENCE, eventually
from tests.support.fault_plant import own_directory
from tests.support.said import capture_logs
from tests.support.standby import replicated

END = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'kaguan-test'"
ONES = 4


def test_the_first_of_several_hosts_goes_last() -> None:
    found = psycopg.conninfo.conninfo_to_dict(rotated("postgresql://kaguan@db-1:5432,db-2:5433,db-3/kaguan"))
    assert (found["host"], found["port"]) == ("db-2,db-3,db-1", "5433,,5432")
    found = psycopg.conninfo.conninfo_to_dict(rotated("postgresql://kaguan@db-1:5432/kaguan"))
    assert (found["host"], found["port"]) == ("db-1", "5432")


async def test_a_former_primary_that_acts_as_one_again_is_not_followed(environ: dict[str, str]) -> None:
    """异步的一对：旧的主回来照样收写入，排在地址的头一个；池子的每条新连接仍到新的主那里。"""
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        pair = await stack.enter_async_context(replicated(directory, synchronous=False))
        await asyncio.to_thread(upgrade, pair.primary.url)
        await eventually(partial(has_the_key, pair.standby.url))
        await pair.primary_process.stop(signal.SIGKILL)
        await pair.promote()
        url = pair.url  # 备的在前：就是旧的主
        sizes = {"KAGUAN_DATABASE__POOL_MIN": str(ONES), "KAGUAN_DATABASE__POOL_MAX": str(ONES)}
        settings = load_settings({**environ, **sizes, "KAGUAN_DATABASE__URL": url})
        pool = await stack.enter_async_context(open_pool(settings.database, "test"))
        assert await servers(pool) == {pair.primary.port}
        await pair.standby_process.start()
        async with await psycopg.AsyncConnection.connect(pair.standby.url, autocommit=True) as one:
            await one.execute("create table written_by_mistake (n int)")
        await renewed(pool, pair.primary.admin_url_of("postgres"))
        assert await servers(pool) == {pair.primary.port}
        async with (
            open_pool(settings.database, "late") as late,
            open_redis(settings.redis) as redis,
            witnessing(redis, pool),
        ):
            assert await servers(late) == {pair.standby.port}  # 切换之后才启动的，没有见过新的
            late.heard_for = PATIENCE  # 只听一拍
            with capture_logs() as logs:
                await Presence(redis, "api").watch(late)
            assert "别的进程见过更新的主库，不再跟旧的" in {one["event"] for one in logs}
            assert await servers(late) == {pair.primary.port}
            for command in (("migrate", "up"), ("task", "vanished")):
                refused = await asyncio.to_thread(
                    kaguan,
                    *command,
                    data=directory,
                    KAGUAN_DATABASE__URL=url,
                    KAGUAN_REDIS__URL=environ["KAGUAN_REDIS__URL"],
                )
                assert refused.returncode == ExitCode.DEPENDENCY
                assert "连上的是切换之前的主库" in refused.stderr
        await pair.copy()
        await pair.primary_process.stop(signal.SIGKILL)
        await pair.promote()
        await eventually(partial(written, pool))
        assert await servers(pool) == {pair.primary.port}


@asynccontextmanager
async def witnessing(redis: Redis, pool: CheckedPool) -> AsyncIterator[None]:
    """连得上新主的一个进程，一直在跳。"""
    presence = Presence(redis, "api", interval=INTERVAL)  # 漏一拍也不要紧
    await presence.watch(pool)
    async with presence.beating():
        yield


async def has_the_key(url: str) -> bool:
    """备库收到了迁移：盖印的钥匙两边都有。"""
    try:
        async with await psycopg.AsyncConnection.connect(url) as one:
            return await (await one.execute("select from tb_seal")).fetchone() is not None
    except psycopg.errors.UndefinedTable:
        return False


async def renewed(pool: Pool, admin: str) -> None:
    """池里的连接全部断过一遍。"""
    async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as one:
        assert await (await one.execute(END)).fetchone() == (ONES,)
    await eventually(partial(written, pool))


async def servers(pool: Pool) -> set[int]:
    """各条连接连的是谁：一起借出来，一条也不重。"""

    async def ask(gathered: asyncio.Barrier) -> int:
        async with pool.connection() as connection:
            await gathered.wait()
            row = await (await connection.execute("select inet_server_port()")).fetchone()
            assert row is not None
            return int(row[0])

    gathered = asyncio.Barrier(ONES)
    async with asyncio.timeout(PATIENCE):
        return set(await asyncio.gather(*(ask(gathered) for _ in range(ONES))))


async def written(pool: Pool) -> bool:
    try:
        async with pool.connection() as connection:
            await connection.execute("create table if not exists written (n int)")
    except PASSING_ERRORS:
        return False
    return True
