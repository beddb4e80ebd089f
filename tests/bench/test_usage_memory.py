"""用量同步的内存有界：行数翻多少倍，常驻内存都在同一处。"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import orjson
import psycopg

from kaguan.dev.program import Program
from tests.bench.processes import output_of
from tests.bench.usage_source import stock
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT

CARDS = 4_000
DAYS = 25
GROWTH = 12.0  # MiB；十万行全留在内存里要几十


async def test_a_hundred_thousand_usage_rows_need_no_more_memory_than_ten_thousand(
    environ: Mapping[str, str], database_url: str, tmp_path: Path
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await stock(connection, CARDS)
        argv = (sys.executable, "-m", "tests.bench.usage_probe", "sync", "--cards", str(CARDS), "--days", str(DAYS))
        found = orjson.loads(
            await output_of(Program("usage-probe", argv, ROOT, environment=environ), tmp_path, PATIENCE)
        )
        cursor = await connection.execute("select count(*) from tb_sim_usage")
        assert await cursor.fetchone() == (CARDS * DAYS,)
    assert found["peak"] - found["early"] < GROWTH, found
