"""内嵌服务器与连接池。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from sqlalchemy import text

from kaguan.database.migrate import status
from kaguan.database.pool import Pool, engine_on

if TYPE_CHECKING:
    from kaguan.dev.valkey import ValkeyServer


async def test_each_test_gets_a_migrated_database(pool: Pool, database_url: str) -> None:
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT count(*) FROM tb_task")
        assert await cursor.fetchone() == (0,)
    assert status(database_url).up_to_date


async def test_sqlalchemy_engine_shares_the_pool_and_hands_connections_back(pool: Pool) -> None:
    engine = engine_on(pool)
    for _ in range(pool.max_size * 2):
        async with engine.begin() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    await engine.dispose()
    async with pool.connection() as connection:
        assert connection.autocommit
    assert pool.get_stats()["pool_size"] <= pool.max_size


async def test_an_engine_transaction_is_rolled_back_on_error(pool: Pool) -> None:
    engine = engine_on(pool)

    async def fail_halfway() -> None:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE scratch (id int)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_halfway()
    await engine.dispose()
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT to_regclass('scratch')")
        assert await cursor.fetchone() == (None,)


async def test_valkey_wants_a_password_and_never_evicts(valkey_server: ValkeyServer, redis_url: str) -> None:
    async with Redis(host="127.0.0.1", port=valkey_server.port, retry=Retry(NoBackoff(), 0)) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.get("x")
    async with Redis.from_url(redis_url) as client:
        assert await client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
