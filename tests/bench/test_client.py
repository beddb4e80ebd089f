"""自己的压测客户端对着真的服务器：数得对，坏应答算错误，每个请求号都不同。"""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from tests.bench.body import REST
from tests.bench.client import Run, drive
from tests.support.eventually import eventually

PATH = "/submit"


@asynccontextmanager
async def answering(status: int, seen: list[str], keepalive: float = 60.0) -> AsyncIterator[int]:
    async def submit(request: web.Request) -> web.Response:
        seen.append((await request.json())["request_id"])
        return web.json_response({}, status=status)

    async with serving(submit, keepalive) as port:
        yield port


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.Response]], keepalive: float = 60.0
) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", PATH, handler)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=keepalive)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def options(port: int, rate: float, numbers: str = "random", following: str = REST) -> Namespace:
    fixed = {"path": PATH, "token": "t", "prefix": "p", "seconds": 0.3, "connections": 4}
    return Namespace(port=port, rate=rate, numbers=numbers, rest=following, **fixed)


@pytest.mark.parametrize("rate", [0.0, 200.0])
async def test_every_request_is_counted_once_and_is_new(rate: float) -> None:
    seen: list[str] = []
    async with answering(202, seen) as port:
        report = await drive(options(port, rate))
    assert report["errors"] == 0
    assert report["requests"] <= len(seen)
    assert len(set(seen)) == len(seen) > 0
    assert 0 < report["p50"] <= report["p95"] <= report["p99"]


@pytest.mark.parametrize(("numbers", "timed"), [("timed", True), ("random", False)])
async def test_request_ids_begin_with_the_time_only_when_asked_to(numbers: str, *, timed: bool) -> None:
    seen: list[str] = []
    before = time.time_ns()
    async with answering(202, seen) as port:
        await drive(options(port, 200.0, numbers))
    stamps = [int(request_id.partition("-")[0], 16) for request_id in seen]
    assert {before <= stamp <= time.time_ns() for stamp in stamps} == {timed}


async def test_an_answer_other_than_202_is_an_error() -> None:
    async with answering(503, []) as port:
        report = await drive(options(port, 0.0))
    assert report["errors"] > 0


@pytest.mark.parametrize(("following", "wanted"), [("", "GET"), (REST, "POST")])
async def test_without_a_body_it_asks(following: str, wanted: str) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.method)
        return web.json_response({}, status=202 if await request.read() else 200)

    async with serving(answer) as port:
        report = await drive(options(port, 0.0, following=following))
    assert report["errors"] == 0
    assert set(seen) == {wanted}


async def test_a_connection_that_the_server_closed_for_idling_is_replaced_and_no_error() -> None:
    seen: list[str] = []
    async with answering(202, seen, keepalive=0.05) as port:
        run = Run(b"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", "p", REST, 0.0, closed=False)
        await run.open(port)
        (first,) = run.idle
        run.idle.pop().send(asyncio.get_running_loop().time())
        await eventually(lambda: bool(run.idle) and run.idle[0] is not first)
        run.idle.pop().send(asyncio.get_running_loop().time())
        await eventually(lambda: len(run.latencies) == 2)
        assert (run.errors, len(seen)) == (0, 2)
        run.stopped = True
