"""收发任务的语句：各连接计划一遍就一直用，表还空着时计划好的也不走全表；条件时有时无的查询不这样（docs/adr/0034）。"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from tests.integration.database.plans.large_database import BIG_TABLES
from tests.integration.database.plans.plans import scanned
from tests.support.folded import folded
from tests.support.pooler import Pooler
from tests.support.statements import STATEMENTS

SETTINGS = "select current_setting('plan_cache_mode'), current_setting('enable_seqscan'), current_setting('jit')"
ANYWHERE = [path for path in STATEMENTS if path.parents[1].name != "testing"]  # 那一间由客人的用例用，不在进程里
ONCE = ("force_generic_plan", "off", "off")


@pytest.fixture(params=["direct", "pooler"])
def url(request: pytest.FixtureRequest, direct_url: str) -> str:
    if request.param == "direct":
        return direct_url
    pooler: Pooler = request.getfixturevalue(request.param)
    return pooler.url_of(direct_url)


async def test_a_process_that_only_moves_tasks_plans_once_and_others_as_ever(url: str, environ: dict[str, str]) -> None:
    config = load_settings({**environ, "KAGUAN_DATABASE__URL": url}).database
    for planned_once in (True, False):
        async with open_pool(config, "test", planned_once=planned_once) as pool, pool.connection() as connection:
            found: list[Any] = [await (await connection.execute(SETTINGS)).fetchone()]
            async with connection.transaction():
                found.append(await (await connection.execute(SETTINGS)).fetchone())
        assert [one == ONCE for one in found] == [planned_once] * 2


@pytest.mark.direct("问计划的几句要在同一个会话里")
@folded("path", ANYWHERE)
async def test_no_statement_planned_on_an_empty_table_walks_the_whole_of_it(path: Path, pool: Pool) -> None:
    async with pool.connection() as connection:
        assert not await scanned(connection, STATEMENTS[path]) & BIG_TABLES


@pytest.mark.direct("问计划的几句要在同一个会话里")
async def test_without_it_the_planner_would(environ: dict[str, str]) -> None:
    """对照：同一条结算，平常的连接在空表上选的是全表。"""
    (settled,) = (text for path, text in STATEMENTS.items() if path.stem == "settle_done")
    async with open_pool(load_settings(environ).database, "test") as pool, pool.connection() as connection:
        assert "tb_task" in await scanned(connection, settled)
