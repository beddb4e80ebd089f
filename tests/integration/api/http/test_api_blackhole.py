"""PostgreSQL 成了黑洞：请求按时得到 503/504，先于没有我们管的；池子不坏，黑洞一消失就恢复（FAULTS.md 21）。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from kaguan.config import Settings, load_settings
from tests.chaos.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.serving import serving

SHORT = {"KAGUAN_API__REQUEST_TIMEOUT": "0.5", "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": "0.5"}
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    target = urlsplit(database_url).port
    assert target is not None
    opened = Proxy(target)
    await opened.start()
    yield opened
    await opened.stop()


def through(proxy: Proxy, environ: dict[str, str], database_url: str) -> Settings:
    address = database_url.replace(f":{urlsplit(database_url).port}/", f":{proxy.port}/")
    return load_settings({**environ, **SHORT, "KAGUAN_DATABASE__URL": address})


@asynccontextmanager
async def unmanaged(settings: Settings) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """对照：同样的时限，连接却是 psycopg 原样的；它自己的取消要等十秒以上。"""
    url = settings.database.url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:

        async def ask() -> None:
            with suppress(TimeoutError, psycopg.Error):
                async with asyncio.timeout(settings.api.request_timeout):
                    await connection.execute("select 1")

        yield ask


@pytest.mark.parametrize("path", ["/users", "/tasks", "/tasks/email"])
async def test_requests_end_in_time_and_the_service_recovers(
    path: str, proxy: Proxy, environ: dict[str, str], database_url: str
) -> None:
    settings = through(proxy, environ, database_url)
    body = MAIL if path == "/tasks/email" else None
    method = "GET" if body is None else "POST"
    async with serving(settings) as api:

        async def served() -> bool:
            return (await api.call(method, path, body)).code == 0

        assert await eventually(served)
        async with unmanaged(settings) as slower:
            proxy.blackhole()
            control = asyncio.create_task(slower())
            replies = await asyncio.gather(*(api.call(method, path, body) for _ in range(8)))
            assert not control.done()
            assert {reply.code for reply in replies} <= {2002, 2004}
            proxy.cut()
            proxy.heal()
            await control

        assert await eventually(served)


async def test_an_event_stream_that_cannot_start_ends_in_time(
    proxy: Proxy, environ: dict[str, str], database_url: str
) -> None:
    """开起来的流没有时限，还没开起来的有。"""
    settings = through(proxy, environ, database_url)
    async with serving(settings) as api:

        async def accepted() -> str | None:
            reply = await api.post("/tasks/email", MAIL)
            return reply.data["task_id"] if reply.code == 0 else None

        task_id = await eventually(accepted)
        async with unmanaged(settings) as slower:
            proxy.blackhole()
            control = asyncio.create_task(slower())
            replies = await asyncio.gather(*(api.get(f"/tasks/{task_id}/events") for _ in range(4)))
            assert not control.done()
            assert {reply.code for reply in replies} <= {2002, 2004}
            proxy.cut()
            proxy.heal()
            await control
