"""事件流的名额：一个令牌占不光；断开即刻归还；别的令牌不受影响。"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import aiohttp
from aiohttp import web

from api.http.streams import INTERVAL, STREAMS, Streams
from kaguan.config import load_settings
from kaguan.tokens import service as tokens
from kaguan.tokens import store
from kaguan.words.errors import Code
from tests.support.eventually import PATIENCE, eventually
from tests.support.serving import Api, serving

SIM = {"iccids": ["8986001234567890123"], "schedule_at": "2027-01-01T00:00:00Z"}
MOST = 3


async def opened(api: Api, stack: AsyncExitStack, path: str) -> aiohttp.ClientResponse:
    headers = {"Authorization": f"Bearer {api.token}"}
    return await stack.enter_async_context(api.session.get(path, headers=headers))


async def test_one_token_cannot_hold_more_streams_than_its_share(
    environ: dict[str, str],
) -> None:
    def seldom(app: web.Application) -> None:
        # 归还只能是因为察觉了断开，不是看了一眼
        app[STREAMS] = Streams(MOST, interval=3_600.0)

    async with serving(load_settings(environ), adapt=seldom) as api, AsyncExitStack() as stack:
        async with api.pool.connection() as connection:
            other = replace(api, token=(await tokens.create(connection, "other", ["tasks:read"])).token)
        path = f"/api/v1/tasks/{(await api.post('/tasks/sim', SIM)).data['task_id']}/events"
        streams = [await opened(api, stack, path) for _ in range(MOST)]
        assert [stream.status for stream in streams] == [200] * MOST
        refused = await api.get(path.removeprefix("/api/v1"))
        assert (refused.status, refused.code) == (429, Code.TOO_MANY_REQUESTS)
        assert int(refused.headers["Retry-After"]) >= 1
        assert str(MOST) in refused.body["msg"]
        assert (await opened(other, stack, path)).status == 200
        streams[0].close()

        async def accepted() -> bool:
            return (await opened(api, stack, path)).status == 200

        await eventually(accepted)
        assert (await api.get(path.removeprefix("/api/v1"))).status == 429


async def test_all_tokens_together_cannot_hold_more_than_the_process_has(
    environ: dict[str, str],
) -> None:
    def one_in_all(app: web.Application) -> None:
        app[STREAMS] = Streams(MOST, most=1)

    async with serving(load_settings(environ), adapt=one_in_all) as api, AsyncExitStack() as stack:
        path = f"/api/v1/tasks/{(await api.post('/tasks/sim', SIM)).data['task_id']}/events"
        assert (await opened(api, stack, path)).status == 200
        refused = await api.get(path.removeprefix("/api/v1"))
        assert (refused.status, refused.code) == (503, Code.OVERLOADED)
        assert int(refused.headers["Retry-After"]) >= 1


async def test_a_stream_ends_with_its_token_and_tells_nothing_more(environ: dict[str, str]) -> None:
    async with serving(load_settings(environ)) as api, AsyncExitStack() as stack:
        task = (await api.post("/tasks/sim", SIM)).data["task_id"]
        async with api.pool.connection() as connection:
            issued = [await tokens.create(connection, name, ["tasks:read"]) for name in ("revoked", "expired")]
        readers = [replace(api, token=one.token) for one in issued]
        streams = [await opened(reader, stack, f"/api/v1/tasks/{task}/events") for reader in readers]
        for stream in streams:
            assert b"event: task" in await stream.content.readuntil(b"\r\n\r\n")
        async with api.pool.connection() as connection:
            await store.revoke(connection, "revoked")
        await api.rows("update tb_api_token set expires_at = now() - interval '1 second' where name = 'expired'")

        async def forgotten() -> bool:
            return [(await reader.get("/tasks")).status for reader in readers] == [401, 401]

        await eventually(forgotten)
        await api.post(f"/tasks/{task}/cancel", {})
        for stream in streams:
            async with asyncio.timeout(PATIENCE):
                assert set((await stream.content.read()).split(b"\r\n")) <= {b"", b": ping"}


async def test_a_stream_that_comes_while_stopping_tells_the_present_state_and_ends() -> None:
    streams = Streams(per_token=1)
    with streams.opened(1) as before:
        streams.stop()
        assert before.is_set()
    with streams.opened(1) as after:
        assert after.is_set()


async def test_a_stream_of_no_task_leaves_no_place_taken(environ: dict[str, str]) -> None:
    async with serving(load_settings({**environ, "KAGUAN_API__STREAMS_PER_TOKEN": "1"})) as api:
        for _ in range(3):
            assert (await api.get("/tasks/01989f2e-0000-7000-8000-000000000000/events")).status == 404


async def test_a_stream_outlives_the_time_of_a_request(environ: dict[str, str]) -> None:
    limit = INTERVAL / 2  # 第二眼已过了时限
    async with (
        serving(load_settings({**environ, "KAGUAN_API__REQUEST_TIMEOUT": str(limit)})) as api,
        AsyncExitStack() as stack,
    ):

        async def accepted() -> str | None:
            reply = await api.post("/tasks/sim", SIM)
            return reply.data["task_id"] if reply.status == 202 else None

        task_id = await eventually(accepted)

        async def started() -> aiohttp.ClientResponse | None:
            stream = await opened(api, stack, f"/api/v1/tasks/{task_id}/events")
            return stream if stream.status == 200 else None

        async def cancelled() -> bool:
            return (await api.call("POST", f"/tasks/{task_id}/cancel")).status in {200, 409}

        stream = await eventually(started)
        assert stream is not None
        assert (await stream.content.readuntil(b"\r\n\r\n")).startswith(b"id:")
        await eventually(cancelled)
        async with asyncio.timeout(PATIENCE):
            assert b'"status":"cancelled"' in await stream.content.read()
