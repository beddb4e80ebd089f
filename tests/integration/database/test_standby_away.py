"""同步备库不在：受理及时答 2002，同一个请求号随后找得到那一行；relay 与 worker 不永远挂着；doctor 与指标说得出。"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial

import psycopg
from aiohttp import web

from api.http.guard import GUARD
from kaguan.cli.standbys import examine_standbys
from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.database.standbys import StandbyMetrics
from kaguan.outbox.metrics import Metrics
from kaguan.telemetry.monitor import Monitor
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import EFFECT_TABLE, QUICK, Effects, all_closed, effects, own_directory, relaying
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.serving import Api, Reply, serving
from tests.support.standby import replicated

MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
USER = {"username": "ann", "email": "ann@example.com", "password": "correct horse"}
WAITING = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
UNREPLICATED = "create table standing (n int)"
ATTACHED = "select count(*) from pg_stat_replication"
STANDBYS = "kaguan_synchronous_standbys"
THERE = "提交等同步备库 *，答应过的它都有"
UNSEEN = "提交等同步备库 *；连着的是不是它，这个角色看不见（给它 pg_read_all_stats 就看得见）"
AWAY = "同步备库 * 要 1 个，连着的只有 0 个：提交要等它，受理会答 2002"


async def test_without_its_standby_accepting_answers_in_time_and_the_same_request_finds_its_row(
    environ: dict[str, str],
) -> None:
    """备库在不在都没人说得准的，一次也不答成了；它回来之后，同一个请求号、同一个键找到的是先前那一个。"""
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(replicated(stack.enter_context(own_directory())))
        environ = {**environ, **QUICK, "KAGUAN_DATABASE__URL": pair.url, "KAGUAN_API__REQUEST_TIMEOUT": "0.5"}
        environ["KAGUAN_DATABASE__LISTEN_URL"] = "off"  # 它隔一阵 notify 一声，也是一个提交
        settings = load_settings(environ)
        apps: list[web.Application] = []
        api = await stack.enter_async_context(serving(settings, adapt=apps.append))
        await api.rows(EFFECT_TABLE)
        pipeline = await stack.enter_async_context(
            open_pipeline(settings, await stack.enter_async_context(open_pool(settings.database, "worker")))
        )

        standbys = StandbyMetrics((metrics := Metrics()).registry)
        admin = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(pair.primary.admin_url_of("postgres"), autocommit=True)
        )

        async def said() -> tuple[bool, str, str]:
            """doctor 说的，与指标：在着几个，要几个。"""
            await standbys.publish(api.pool)
            found = await examine_standbys(settings)
            assert found
            value = metrics.registry.get_sample_value
            return found.ok, found.detail, f"{value(f'{STANDBYS}_attached'):g} / {value(f'{STANDBYS}_wanted'):g}"

        assert await said() == (True, UNSEEN, "nan / 1")
        await admin.execute("set synchronous_commit to local")  # 收回权限也是一个提交
        await admin.execute("grant pg_read_all_stats to kaguan")
        assert await said() == (True, THERE, "1 / 1")
        pair.line.refuse()
        await eventually(partial(none_is_attached, admin))
        assert await said() == (False, AWAY, "0 / 1")  # 还没有一个提交
        await admin.execute("revoke pg_read_all_stats from kaguan")
        assert await said() == (False, AWAY, "0 / 1")
        one = await stack.enter_async_context(await psycopg.AsyncConnection.connect(pair.primary.url, autocommit=True))
        stuck = asyncio.create_task(one.execute(UNREPLICATED))
        stack.callback(stuck.cancel)
        await eventually(partial(somebody_waits, pipeline))
        await eventually(partial(all_unsure, api))
        await eventually(partial(all_unsure, api))  # 行都在本机，答成了就是说谎
        assert await api.rows("select count(*) from vw_task") == [(3,)]  # 两封，一封欢迎信
        await asyncio.wait_for(apps[0][GUARD].flush(), PATIENCE)  # 停机前的最后一笔也不永远等它
        (ok, *_) = await said()
        assert not ok
        Monitor(metrics.registry, api.pool, None, 1e9).run_once()
        assert (metrics.registry.get_sample_value("kaguan_commits_unconfirmed_total") or 0) >= 6
        await stack.enter_async_context(relaying(pipeline))
        await stack.enter_async_context(pipeline.working(Effects()))
        pair.line.heal()
        await eventually(pair.is_attached)
        await stuck

        async def all_is_well() -> bool:
            return await said() == (True, UNSEEN, "nan / 1")

        await eventually(all_is_well)
        await eventually(partial(all_granted, api))
        assert await api.rows("select count(*) from vw_task") == [(3,)]
        await eventually(partial(all_closed, pipeline))
        assert await effects(pipeline) == (3, 3)


async def ask(api: Api) -> list[Reply]:
    return [
        await api.post("/tasks/email", {**MAIL, "request_id": "mine"}),
        await api.post("/tasks/email", {**MAIL, "request_id": "next", "ordering_key": "k"}),
        await api.call("POST", "/users", USER, {"Idempotency-Key": "ann"}),
    ]


async def all_unsure(api: Api) -> bool:
    """一个也没有答成；来不及听数据库说为什么的，答的是 2004。"""
    codes = [reply.code for reply in await ask(api)]
    assert set(codes) <= {2002, 2004}
    return codes == [2002] * 3


async def all_granted(api: Api) -> bool:
    return [reply.status for reply in await ask(api)] == [202, 202, 201]


async def somebody_waits(pipeline: Pipeline) -> bool:
    return await pipeline.sql(WAITING) != [(0,)]


async def none_is_attached(admin: psycopg.AsyncConnection) -> bool:
    return await (await admin.execute(ATTACHED)).fetchone() == (0,)
