"""收发任务的语句：各连接计划一遍就一直用，表还空着时计划好的也不走全表；条件时有时无的查询不这样（docs/adr/0034）。"""

from __future__ import annotations

from typing import Any

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from tests.integration.database.plans.plans import HOT, WORK, scanned
from tests.support.pooler import Pooler

SETTINGS = "select current_setting('plan_cache_mode'), current_setting('enable_seqscan'), current_setting('jit')"
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


@pytest.mark.parametrize(("package", "name"), HOT, ids=[name for _, name in HOT])
async def test_no_hot_statement_planned_on_an_empty_table_walks_the_whole_of_it(
    pool: Pool, package: str, name: str
) -> None:
    async with pool.connection() as connection:
        assert not await scanned(connection, package, name) & {"tb_task", "tb_outbox", "tb_task_event", "tb_ordering"}


async def test_without_it_the_planner_would(environ: dict[str, str]) -> None:
    """对照：同一条结算，平常的连接在空表上选的是全表。"""
    async with open_pool(load_settings(environ).database, "test") as pool, pool.connection() as connection:
        assert "tb_task" in await scanned(connection, WORK, "settle_done")
