"""起不来与连不上：PostgreSQL 不在时的五次尝试与间隔，跟踪的接收端装死（FAULTS.md 20、56）。"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from kaguan.config import load_settings
from kaguan.database.pool import DatabaseUnavailableError, Pool, wait_for_database
from kaguan.product.exit_codes import ExitCode
from kaguan.tokens import service as tokens
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import EFFECT_TABLE, QUICK, all_closed, child, effects, local, only_kaguan
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port
from tests.support.retries import retries

ATTEMPTS = 5
BACKOFF = 0.1  # 秒，之后翻倍
MAILS = 20
MAIL = {"to": ["a@example.com"], "subject": "quick", "body": "b"}


class Hanging:
    """收下每个连接就挂断。"""

    def __init__(self) -> None:
        self.accepted = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        self.accepted += 1
        writer.transport.abort()


async def test_postgresql_down_at_start_is_tried_five_times_ever_more_slowly(environ: dict[str, str]) -> None:
    hanging = Hanging()
    server = await asyncio.start_server(hanging, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    more = {
        "KAGUAN_DATABASE__URL": f"postgresql://u:p@127.0.0.1:{port}/x?sslmode=disable&gssencmode=disable",
        "KAGUAN_DATABASE__CONNECT_ATTEMPTS": str(ATTEMPTS),
        "KAGUAN_DATABASE__CONNECT_BACKOFF": str(BACKOFF),
    }
    async with server:
        with retries() as waits, pytest.raises(DatabaseUnavailableError):
            await wait_for_database(load_settings({**environ, **more}).database, "test")
    assert hanging.accepted == ATTEMPTS
    assert len(waits) == ATTEMPTS - 1
    assert all(BACKOFF * 2**number <= wait <= BACKOFF * 2 ** (number + 1) for number, wait in enumerate(waits)), waits


@pytest.mark.parametrize("module", ["api", "relay", "workers"])
async def test_every_process_gives_up_with_its_exit_code_when_postgresql_stays_away(
    environ: dict[str, str], tmp_path: Path, module: str
) -> None:
    given = {
        **only_kaguan(environ),
        "KAGUAN_DATABASE__URL": f"postgresql://u:p@127.0.0.1:{own_port()}/x",
        "KAGUAN_DATABASE__CONNECT_BACKOFF": "0.01",
        "KAGUAN_API__PORT": str(own_port()),
    }
    async with child(module, given, tmp_path / "log") as process:
        assert await asyncio.wait_for(process.process.wait(), PATIENCE) == ExitCode.DEPENDENCY, process.output
        assert f"试了 {ATTEMPTS} 次" in process.output


async def test_a_silent_trace_collector_costs_no_request_no_task_and_no_late_stop(
    environ: dict[str, str], pool: Pool, tmp_path: Path
) -> None:
    """接收端收下连接、从不回答：导出在别的线程里等，业务照常，停机照样按时。"""
    async with open_pipeline(load_settings({**environ, **QUICK}), pool) as pipeline:
        await pipeline.sql(EFFECT_TABLE)
        async with pool.connection() as connection:
            token = (await tokens.create(connection, "test", tokens.SCOPES)).token
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            port = own_port()
            given = {
                **only_kaguan(environ),
                **QUICK,
                "KAGUAN_API__PORT": str(port),
                "KAGUAN_WORKER__LEASE": "15",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            }
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                child("api", given, tmp_path / "api.log") as api,
                child("relay", given, tmp_path / "relay.log") as relay,
                child("tests.support.fault_worker", given, tmp_path / "worker.log") as worker,
                aiohttp.ClientSession(local(port), headers=headers) as client,
            ):
                await eventually(lambda: ready(client))
                for _ in range(MAILS):
                    async with client.post("/api/v1/tasks/email", json=MAIL) as answer:
                        assert answer.status == 202
                await eventually(lambda: all_closed(pipeline))
                codes = await asyncio.gather(*(process.stopped() for process in (worker, relay, api)))
        assert codes == [0, 0, 0]
        assert await effects(pipeline) == (MAILS, MAILS)


async def ready(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.get("/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
