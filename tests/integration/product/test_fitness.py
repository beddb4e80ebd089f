"""连上之后才知道配不配：库的结构、时钟、Redis 的淘汰。生产里一处一行，起不来；开发里不问。"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis

from kaguan.config import Exemption, Settings, load_settings
from kaguan.database.migrate import downgrade
from kaguan.database.revisions import START_ANEW
from kaguan.product.exit_codes import ExitCode
from kaguan.product.fitness import MAX_SKEW, UnfitError, examine, refuse_unfit
from tests.support.eventually import PATIENCE
from tests.support.fault_clock import shifted
from tests.support.fault_plant import child, own_directory, own_valkey
from tests.support.production import LOCAL


@pytest.fixture
def production(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, **LOCAL}


@pytest.fixture
def settings(production: dict[str, str]) -> Settings:
    return load_settings(production)


async def test_sound_surroundings_are_found_sound(settings: Settings) -> None:
    assert await examine(settings, "test") == []


async def test_a_schema_behind_the_code_is_refused_and_nothing_lets_it_pass(
    production: dict[str, str], direct_url: str
) -> None:
    everything = json.dumps([name for name in Exemption if name != Exemption.CONSOLE_HTTP])
    downgrade(direct_url, "base")
    with pytest.raises(UnfitError) as refusal:
        await refuse_unfit(load_settings({**production, "KAGUAN_ALLOW_INSECURE": everything}), "test")
    (line,) = str(refusal.value).splitlines()
    assert line.startswith("KAGUAN_DATABASE__URL：库的结构落后于代码")
    assert line.endswith("请先运行 kaguan migrate up")


async def test_a_schema_of_a_build_before_the_first_release_is_refused(settings: Settings, direct_url: str) -> None:
    with psycopg.connect(direct_url, autocommit=True) as owner:
        owner.execute("update alembic_version set version_num = '0022'")
    (found,) = await examine(settings, "test")
    assert (found.exemption, START_ANEW in str(found)) == (None, True)


async def test_a_schema_ahead_of_the_code_is_a_release_rolled_back(settings: Settings, direct_url: str) -> None:
    with psycopg.connect(direct_url, autocommit=True) as owner:
        owner.execute("update alembic_version set version_num = '9999'")
    assert await examine(settings, "test") == []


@pytest.mark.parametrize("skew", [MAX_SKEW + 2, -MAX_SKEW - 2])
async def test_a_clock_far_from_that_of_postgresql_is_told_with_its_distance(settings: Settings, skew: float) -> None:
    (found,) = await examine(settings, "test", lambda: time.time() + skew)
    assert found.exemption is Exemption.CLOCK_SKEW
    assert re.search(f"{'快' if skew > 0 else '慢'} 1[123] 秒", str(found))  # 问的工夫也算在里面
    assert await examine(settings, "test", lambda: time.time() + skew / 2) == []


async def test_a_redis_that_evicts_is_refused_and_may_be_let_pass_by_its_name(production: dict[str, str]) -> None:
    with own_directory() as directory:
        async with own_valkey(directory) as (server, _), Redis.from_url(server.url) as client:
            await client.config_set("maxmemory-policy", "allkeys-lru")
            given = {**production, "KAGUAN_REDIS__URL": server.url}
            with pytest.raises(UnfitError, match="maxmemory-policy 是 allkeys-lru") as refusal:
                await refuse_unfit(load_settings(given), "test")
            assert refusal.value.weaknesses[0].exemption is Exemption.REDIS_EVICTION
            await refuse_unfit(load_settings({**given, "KAGUAN_ALLOW_INSECURE": '["redis_eviction"]'}), "test")
            await refuse_unfit(load_settings({**given, "KAGUAN_ENV": "dev"}), "test")
    # 不在了：API 照样起，relay 与 worker 自己等
    assert await examine(load_settings(given), "test") == []


async def test_a_process_in_production_says_it_in_one_line_and_stops(
    production: dict[str, str], direct_url: str, tmp_path: Path
) -> None:
    downgrade(direct_url, "base")
    async with child("relay", production, tmp_path / "log") as process:
        assert await asyncio.wait_for(process.process.wait(), PATIENCE) == ExitCode.DEPENDENCY, process.output
    (error,) = [line for line in map(json.loads, process.output.splitlines()) if line["level"] == "error"]
    assert error["event"].endswith("请先运行 kaguan migrate up")


def test_doctor_tells_the_distance_of_the_clocks(environ: dict[str, str], tmp_path: Path) -> None:
    given = {**os.environ, **environ, **shifted(60, tmp_path)}
    argv = [sys.executable, "-c", "from kaguan.cli.app import main; main()", "doctor", "--json"]
    told = subprocess.run(argv, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    (found,) = [one for one in json.loads(told.stdout) if one.get("part") == "PostgreSQL"]
    assert not found["ok"]
    assert re.search("与本机的时钟差 (59|60|61) 秒", found["detail"])
