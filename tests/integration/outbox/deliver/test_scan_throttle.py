"""从头看的那一遍：另有时限；看不完也歇，不挡着近处的（docs/adr/0028）。"""

from __future__ import annotations

import psycopg
import pytest

from kaguan.database.pool import Connection, Pool
from kaguan.outbox.deliver.scan_throttle import PATIENCE, ScanThrottle, ThrottledScan


async def limit_of(connection: Connection) -> str:
    (value,) = await (await connection.execute("show statement_timeout")).fetchone() or ("",)
    return str(value)


async def test_a_look_from_the_start_has_a_limit_of_its_own_and_then_rests(pool: Pool) -> None:
    throttle = ScanThrottle()
    async with pool.connection() as connection:
        usual = await limit_of(connection)
        async with ThrottledScan(throttle, connection) as thorough:
            assert (thorough, await limit_of(connection)) == (True, PATIENCE)
        async with ThrottledScan(throttle, connection) as thorough:
            assert (thorough, await limit_of(connection)) == (False, usual)
        assert await limit_of(connection) == usual != PATIENCE


async def test_a_look_that_fails_rests_too(pool: Pool) -> None:
    throttle = ScanThrottle()
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            async with ThrottledScan(throttle, connection):
                await connection.execute("select 1 / 0")
        assert not throttle.is_due
        async with ThrottledScan(throttle, connection) as thorough:
            assert not thorough
