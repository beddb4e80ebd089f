"""从头看的那一遍：另有时限；看不完也歇，不挡着近处的（docs/adr/0028）。"""

from __future__ import annotations

import math
from dataclasses import replace

import psycopg
import pytest

from kaguan.database.pool import Connection, Pool
from kaguan.outbox.deliver.scan_throttle import PATIENCE, ScanThrottle, ThrottledScan

SELDOM = 1e9  # 看过一遍，停顿得再久也还在歇


async def limit_of(connection: Connection) -> str:
    (value,) = await (await connection.execute("show statement_timeout")).fetchone() or ("",)
    return str(value)


async def look_too_long(throttle: ScanThrottle, connection: Connection, usual: str) -> None:
    async with ThrottledScan(throttle, connection) as thorough, connection.transaction():
        assert (thorough, await limit_of(connection)) == (True, usual)
        await connection.execute("set local statement_timeout = '10ms'")
        await connection.execute("select pg_sleep(5)")


async def test_a_look_from_the_start_that_does_not_end_in_time_has_a_longer_limit_from_then_on(pool: Pool) -> None:
    throttle = ScanThrottle(least=0.0)
    async with pool.connection() as connection:
        usual = await limit_of(connection)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await look_too_long(throttle, connection, usual)
        async with ThrottledScan(replace(throttle, _at=-math.inf), connection) as thorough:
            assert (thorough, await limit_of(connection)) == (True, PATIENCE)
        assert await limit_of(connection) == usual != PATIENCE


async def test_after_a_look_from_the_start_the_next_is_not_one(pool: Pool) -> None:
    throttle = ScanThrottle(thrift=SELDOM)
    async with pool.connection() as connection:
        async with ThrottledScan(throttle, connection) as thorough:
            assert thorough
        async with ThrottledScan(throttle, connection) as thorough:
            assert not thorough


async def test_a_look_that_fails_rests_too(pool: Pool) -> None:
    throttle = ScanThrottle(thrift=SELDOM)
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with ThrottledScan(throttle, connection):
                await connection.execute("select 1 / 0")
        assert not throttle.is_due
        async with ThrottledScan(throttle, connection) as thorough:
            assert not thorough
