"""慢查询记一行，只有语句，没有值（FAULTS.md 55）。"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from kaguan.config.model import Logging
from kaguan.database.engine import engine_on
from kaguan.database.pool import Pool
from kaguan.logging.setup import APP_LOG, configure_logging

SECRET = "s3cr3t-value"
SLOWER_THAN_THRESHOLD = 0.15  # 秒；阈值默认 0.1


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Path]:
    with configure_logging(Logging(directory=tmp_path), "test"):
        yield tmp_path / APP_LOG


def slow(logs: Path) -> list[dict[str, Any]]:
    """睡了一觉的语句；忙的机器上，别的也许也慢。"""
    lines = [json.loads(line) for line in logs.read_text("utf-8").splitlines()]
    return [line for line in lines if line["event"] == "慢查询" and "pg_sleep" in line["statement"]]


async def test_a_slow_statement_is_logged_once_without_its_values(pool: Pool, logs: Path) -> None:
    async with pool.connection() as connection:
        await connection.execute("select pg_sleep(%s), %s::text", [SLOWER_THAN_THRESHOLD, SECRET])
    (line,) = slow(logs)
    assert line["statement"] == "select pg_sleep(%s), %s::text"
    assert line["duration_ms"] >= SLOWER_THAN_THRESHOLD * 1000
    assert SECRET not in str(line)


async def test_a_slow_statement_of_sqlalchemy_is_logged_too(pool: Pool, logs: Path) -> None:
    async with engine_on(pool).connect() as connection:
        await connection.execute(text("select pg_sleep(:seconds)"), {"seconds": SLOWER_THAN_THRESHOLD})
    assert len(slow(logs)) == 1


async def test_a_slow_failure_is_logged_and_still_raised(pool: Pool, logs: Path) -> None:
    async with pool.connection() as connection, connection.transaction(force_rollback=True):
        await connection.execute("set local statement_timeout = 120")
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("select pg_sleep(%s)", [5])
    assert [line["statement"] for line in slow(logs)] == ["select pg_sleep(%s)"]


@pytest.mark.direct("经连接池，断的是池子的会话，等着的那条照样算慢")
async def test_a_statement_that_lost_its_connection_is_not_a_slow_one(pool: Pool, logs: Path) -> None:
    ending = "select pg_sleep(%s), pg_terminate_backend(pg_backend_pid())"
    with pytest.raises(psycopg.OperationalError):
        async with pool.connection() as connection:
            await connection.execute(ending, [SLOWER_THAN_THRESHOLD])
    assert slow(logs) == []
