"""PgBouncer 后面有负载：客户端连接比服务器连接多得多，服务器连接又不断换新的，与直连一样。"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import QueryCanceled

from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.outbox.testing import Recorder
from kaguan.product.task_types import task_types
from relay import __main__ as relay
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.pipeline import open_pipeline
from tests.support.pooler import TUNED, Pooler
from tests.support.serving import serving

CLIENTS, EACH = 20, 5
SESSIONS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
COUNTED = "select status, count(*) from vw_task group by status"
STATEMENTS = 20  # 比代管得了的多：总有几条刚被挤出去


@pytest.fixture(scope="module")
def tuned(postgres_server: PostgresServer, servers_directory: Path) -> Iterator[Pooler]:
    with Pooler(servers_directory / "tuned-pooler", postgres_server.url, TUNED).serving() as running:
        yield running


@pytest.fixture(params=["plain_pooler", "tuned"])
def way(request: pytest.FixtureRequest, direct_url: str) -> str:
    pooler: Pooler = request.getfixturevalue(request.param)
    return pooler.url_of(direct_url)


async def test_a_load_goes_its_whole_way(way: str, environ: dict[str, str]) -> None:
    """API、relay、worker 要的连接合起来远多于池子给的：排队，一件不少。"""
    settings = load_settings({**environ, "KAGUAN_DATABASE__URL": way, "KAGUAN_DATABASE__POOL_MAX": "20"})
    recording, stop = Recorder(), asyncio.Event()
    async with (
        serving(settings) as api,
        open_pipeline(settings, api.pool) as pipeline,
        pipeline.working(recording),
        alongside(relay.serve(settings, stop, task_types(settings.smtp)), "relay"),
    ):
        accepted: list[str] = []
        mail = {"to": ["a@example.com"], "subject": "s", "body": "b"}

        async def client() -> None:
            for _ in range(EACH):
                reply = await api.post("/tasks/email", mail)
                assert reply.status == 202, reply.text
                accepted.append(reply.data["task_id"])

        await asyncio.gather(*(client() for _ in range(CLIENTS)))

        async def done() -> bool:
            return await pipeline.sql(COUNTED) == [("succeeded", CLIENTS * EACH)]

        await eventually(done)
        assert {str(attempt.task_id) for attempt in recording.attempts} == set(accepted)
        stop.set()


async def test_a_session_replaced_underneath_keeps_limits_and_prepared_statements(
    tuned: Pooler, direct_url: str, environ: dict[str, str]
) -> None:
    keys = {"KAGUAN_DATABASE__URL": tuned.url_of(direct_url), "KAGUAN_DATABASE__STATEMENT_TIMEOUT": "1"}
    async with (
        await psycopg.AsyncConnection.connect(direct_url, autocommit=True) as watcher,
        open_pool(load_settings({**environ, **keys}).database, "test") as pool,
        pool.connection() as connection,
    ):
        assert connection.prepare_threshold is not None

        async def asked() -> set[int]:
            """做得完的那些会话；库停顿了一秒的，这一遍不算。"""
            with suppress(QueryCanceled):
                for number in range(STATEMENTS):
                    cursor = await connection.execute(f"select %s::int + {number}".encode(), (1,))
                    assert await cursor.fetchone() == (number + 1,)
                return {pid for (pid,) in await (await watcher.execute(SESSIONS)).fetchall()}
            return set()

        first = await eventually(asked)

        async def replaced() -> bool:
            now = await asked()
            return bool(now) and not first & now

        await eventually(replaced)
        with pytest.raises(QueryCanceled):
            await connection.execute("select pg_sleep(%s)", (5,))
