"""代理的每种坏法都真的坏，恢复之后都真的好。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest

from tests.chaos.catalogue import CATALOGUE
from tests.chaos.faults import schedule
from tests.chaos.process_faults import BACKLOG_FLUSH
from tests.chaos.proxy import HOST, Proxy
from tests.support.eventually import PATIENCE, eventually

pytestmark = pytest.mark.rigs


@asynccontextmanager
async def echo_behind() -> AsyncIterator[Proxy]:
    """一个回声服务，前面是代理。"""

    gone = asyncio.Event()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(echo, HOST, 0)
    proxy = Proxy(server.sockets[0].getsockname()[1])
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
        server.close()
        await asyncio.wait_for(gone.wait(), PATIENCE)


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> bytes:
    writer.write(text)
    return await asyncio.wait_for(reader.read(100), PATIENCE)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_bytes_pass_and_a_delay_only_delays() -> None:
    async with echo_behind() as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        assert await said(reader, writer, b"a") == b"a"
        proxy.delay = 0.05
        assert await said(reader, writer, b"b") == b"b"
        await closed(writer)


async def test_cut_ends_old_connections_and_takes_new_ones() -> None:
    async with echo_behind() as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        await said(reader, writer, b"a")
        assert proxy.cut() == 1
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(1), PATIENCE) == b""
        await closed(writer)
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        assert await said(reader, writer, b"b") == b"b"
        await closed(writer)


async def test_reset_is_a_reset() -> None:
    async with echo_behind() as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        await said(reader, writer, b"a")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(1), PATIENCE)
        await closed(writer)


async def test_blackhole_swallows_until_healed() -> None:
    async with echo_behind() as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        await said(reader, writer, b"a")
        proxy.blackhole()
        writer.write(b"b")
        await eventually(lambda: proxy.stuck == 1)
        reading = asyncio.create_task(reader.read(1))
        await asyncio.sleep(0)
        assert not reading.done()
        proxy.heal()
        assert await asyncio.wait_for(reading, PATIENCE) == b"b"
        await closed(writer)


def test_same_seed_same_schedule_and_every_kind_gets_its_turn() -> None:
    planned = schedule(3 * len(CATALOGUE), 5)
    assert planned == schedule(3 * len(CATALOGUE), 5)
    assert planned != schedule(3 * len(CATALOGUE), 6)
    kinds = [item.kind for item in planned]
    assert {kinds.count(kind) for kind in CATALOGUE} == {3}
    first = planned[: len(CATALOGUE)]
    assert first[0].kind == BACKLOG_FLUSH
    apart = [after.at - before.at for before, after in pairwise(first)]
    crowded = (1.0 - first[-1].at) / (len(planned) - len(CATALOGUE))
    assert min(apart) > crowded, "第一轮每种故障前后都有空当，恢复用时才量得到"
