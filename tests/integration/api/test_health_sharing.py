"""健康检查不认证，所以不能贵：多少人来问，一个部件每秒也只探一次；另有一份限额，不与业务争。"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import psycopg
import pytest
import redis.asyncio
from aiohttp import web

from api.http import probing
from api.http.keys import SERVICES
from kaguan.config import load_settings
from kaguan.words.errors import Code
from tests.support.eventually import eventually
from tests.support.serving import Api, serving

CALLS = 50
LONG = 3_600.0


async def ask(api: Api, path: str) -> tuple[int, dict[str, Any]]:
    async with api.session.get(path) as response:
        return response.status, await response.json()


async def pings(url: str) -> int:
    async with redis.asyncio.from_url(url) as client:
        seen = await client.info("commandstats")
    return int(seen.get("cmdstat_ping", {"calls": 0})["calls"])


@pytest.mark.parametrize("fresh", [0.0, LONG], ids=["at once", "one after another"])
async def test_many_calls_share_one_probe_of_each_server(environ: dict[str, str], redis_url: str, fresh: float) -> None:
    """结果不留，同时来的也只探一次；结果留着，先后来的也只探一次。"""
    probed: list[None] = []

    def count(shared: probing.SharedProbe) -> None:
        known = shared.ping

        async def ping() -> None:
            probed.append(None)
            await known()

        shared.ping, shared.fresh = ping, fresh

    def counted(app: web.Application) -> None:
        for shared in (app[probing.PROBES].database, app[probing.PROBES].redis):
            count(shared)
        # 歇了十五秒的连接，客户端自己也问一声
        app[SERVICES].redis.connection_pool.connection_kwargs["health_check_interval"] = 0

    async with serving(load_settings(environ), adapt=counted) as api:
        before = await pings(redis_url)
        if fresh:
            answers = [await ask(api, path) for path in ("/health", "/api/v1/health") * (CALLS // 2)]
        else:
            answers = await asyncio.gather(*(together(api, number) for number in range(CALLS)))
        assert {status for status, _ in answers} == {200}
        if fresh:
            assert len(probed) == 2
            assert await pings(redis_url) - before == 1
        else:
            assert len(probed) < CALLS


async def together(api: Api, number: int) -> tuple[int, dict[str, Any]]:
    return await ask(api, "/health/ready" if number % 2 else "/health")


async def test_a_result_is_used_for_a_second_at_most() -> None:
    assert probing.FRESH <= 1.0
    clock = [0.0]
    probed: list[None] = []

    async def ping() -> None:
        probed.append(None)

    shared = probing.SharedProbe(ping, clock=lambda: clock[0])
    await shared()
    clock[0] = probing.FRESH - 0.001
    await shared()
    assert len(probed) == 1
    clock[0] = probing.FRESH
    await shared()
    assert len(probed) == 2


async def test_a_probe_given_up_on_leaves_no_complaint_behind() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    ended = asyncio.Event()

    async def cut_off() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            raise psycopg.OperationalError from None

    assert not (await probing.probe(cut_off(), 0.0)).up
    await ended.wait()
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_whoever_asked_first_may_leave_without_failing_the_others() -> None:
    gate = asyncio.Event()
    shared = probing.SharedProbe(gate.wait)
    first, second = asyncio.create_task(shared()), asyncio.create_task(shared())
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).up


async def test_probes_have_a_limit_of_their_own(environ: dict[str, str]) -> None:
    async with serving(load_settings({**environ, "KAGUAN_API__RATE_PER_ADDRESS": "5"})) as api:

        async def business_refused() -> bool:
            answers = await asyncio.gather(*(ask(api, "/api/v1/tasks") for _ in range(20)))
            return any(status == 429 for status, _ in answers)

        await eventually(business_refused)
        assert (await ask(api, "/health"))[0] == 200
        assert (await ask(api, "/health/ready"))[0] == 200

        async def probing_refused() -> dict[str, Any] | None:
            answers = await asyncio.gather(*(ask(api, "/health/ready") for _ in range(20)))
            return next((body for status, body in answers if status == 429), None)

        assert (await eventually(probing_refused))["code"] == Code.TOO_MANY_REQUESTS
        alive = await asyncio.gather(*(ask(api, "/health/live") for _ in range(50)))
        assert {status for status, _ in alive} == {200}
