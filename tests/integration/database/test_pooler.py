"""事务模式的 PgBouncer 后面：时限、预备语句、迁移，与直连一样；会话里什么也不留。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import IdleInTransactionSessionTimeout, LockNotAvailable, QueryCanceled
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from kaguan.config import Settings, load_settings
from kaguan.database import migrate
from kaguan.database.connecting import LimitedConnection, open_connection
from kaguan.database.engine import engine_on
from kaguan.database.pool import Pool, open_pool
from kaguan.dev.postgres import ROLE, PostgresServer
from kaguan.outbox.testing import Recorder
from kaguan.product.task_types import task_types
from relay import __main__ as relay
from tests.support.alongside import alongside
from tests.support.eventually import PACE, PATIENCE, eventually
from tests.support.pipeline import open_pipeline
from tests.support.pooler import KEPT_BY_DEFAULT, Pooler
from tests.support.servers import alone
from tests.support.serving import serving

LIMITS = {
    "KAGUAN_DATABASE__STATEMENT_TIMEOUT": f"{min(3.0, PACE):g}",
    "KAGUAN_DATABASE__LOCK_TIMEOUT": "0.1",
}
FAR = 10 * PACE  # 秒：远在时限之外，没有时限就等得到
SETTINGS = "select current_setting('statement_timeout'), current_setting('lock_timeout'), "
SETTINGS += "current_setting('idle_in_transaction_session_timeout')"
NONE = ("0", "0", "0")
BEGIN_STATEMENT_COMMIT = 3
# 一个迁移问过了，没轮到
REFUSED = "select count(*) from pg_stat_activity where application_name = 'kaguan-migrate' and query ilike 'commit%'"


@pytest.fixture(params=["direct", "pooler", "plain_pooler"])
def way(request: pytest.FixtureRequest, direct_url: str) -> str:
    """到库里去的三条路。"""
    if request.param == "direct":
        return direct_url
    pooler: Pooler = request.getfixturevalue(request.param)
    return pooler.url_of(direct_url)


def settings_to(url: str, environ: dict[str, str], **more: str) -> Settings:
    return load_settings({**environ, "KAGUAN_DATABASE__URL": url, **LIMITS, **more})


@pytest.fixture
async def limited(way: str, environ: dict[str, str]) -> AsyncIterator[Pool]:
    async with open_pool(settings_to(way, environ).database, "test") as pool:
        yield pool


async def test_a_statement_alone_is_limited(limited: Pool) -> None:
    async with limited.connection() as connection:
        with pytest.raises(QueryCanceled):
            await connection.execute("select pg_sleep(%s)", (FAR,))
        with pytest.raises(QueryCanceled):
            await connection.execute(f"select pg_sleep({FAR})")
        async with connection.cursor() as cursor:
            with pytest.raises(QueryCanceled):
                await cursor.executemany("select pg_sleep(%s)", [(0,), (FAR,)])
        assert await (await connection.execute("select 1")).fetchone() == (1,)


async def test_a_statement_cut_off_anywhere_leaves_its_connection_whole(limited: Pool) -> None:
    """取消落在任何一步，出来的都是取消；下一句答的是自己的。"""

    async def ask(number: int) -> None:
        async with limited.connection() as connection:
            cursor = await connection.execute("select %s::int from pg_sleep(0.002)", (number,))
            assert await cursor.fetchone() == (number,)

    async def cut(number: int) -> bool:
        asked = asyncio.ensure_future(ask(number))
        await asyncio.wait({asked}, timeout=number * 0.0001)
        asked.cancel()
        await asyncio.wait({asked})
        return asked.cancelled() or asked.result() is not None

    cuts = [await cut(number % 60) for number in range(180)]
    assert True in cuts
    async with asyncio.timeout(PATIENCE), limited.connection() as connection:
        for wrong in (object(), "\x00"):
            with pytest.raises((psycopg.Error, ValueError)):
                await connection.execute("select %s::text", (wrong,))
        assert connection.info.transaction_status.name == "IDLE"
    assert limited.get_stats().get("returns_bad", 0) == 0
    for number in range(10):
        await ask(number)


async def test_a_statement_in_a_transaction_is_limited(limited: Pool) -> None:
    async with limited.connection() as connection:
        with pytest.raises(QueryCanceled):
            async with connection.transaction():
                await connection.execute("select pg_sleep(%s)", (FAR,))
        async with connection.transaction():
            # 回滚到保存点也不把时限一起回滚掉
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with connection.transaction():
                    await connection.execute("select 1 / 0")
            with pytest.raises(QueryCanceled):
                async with connection.transaction():
                    await connection.execute("select pg_sleep(%s)", (FAR,))
        assert await (await connection.execute("select 1")).fetchone() == (1,)


async def test_sqlalchemy_is_limited(limited: Pool) -> None:
    engine = engine_on(limited)
    with pytest.raises(DBAPIError, match="statement timeout"):
        async with engine.begin() as connection:
            await connection.execute(text(f"select pg_sleep({FAR})"))
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(DBAPIError, match="statement timeout"):
            await connection.execute(text("select pg_sleep(:far)"), {"far": FAR})
    async with engine.begin() as connection:  # 事务以 executemany 开头：BEGIN 在管道里
        with pytest.raises(DBAPIError, match="statement timeout"):
            await connection.exec_driver_sql("select pg_sleep(%(far)s)", [{"far": 0}, {"far": FAR}])
    await engine.dispose()


async def test_waiting_for_a_lock_is_limited(limited: Pool, direct_url: str) -> None:
    async with limited.connection() as connection:
        await connection.execute("create table held as select 1 as n")
        async with await psycopg.AsyncConnection.connect(direct_url) as holder:
            await holder.execute("update held set n = 2")
            with pytest.raises(LockNotAvailable):
                await connection.execute("update held set n = %s", (3,))
            with pytest.raises(LockNotAvailable):
                async with connection.transaction():
                    await connection.execute("update held set n = 3")


async def test_a_transaction_left_idle_is_ended(way: str, environ: dict[str, str], direct_url: str) -> None:
    hasty = settings_to(way, environ, KAGUAN_DATABASE__IDLE_IN_TRANSACTION_TIMEOUT=f"{min(3.0, PACE):g}")
    async with (
        open_pool(hasty.database, "test") as limited,
        limited.connection() as connection,
        await psycopg.AsyncConnection.connect(direct_url) as admin,
    ):
        await connection.execute("create table held as select 1 as n")

        async def let_go() -> bool:
            cursor = await admin.execute("select from held for update skip locked")
            await admin.commit()
            return cursor.rowcount == 1

        with pytest.raises((IdleInTransactionSessionTimeout, psycopg.OperationalError)):  # noqa: PT012 事务在块里开、在块里断
            async with connection.transaction():
                await connection.execute("update held set n = 2")
                await eventually(let_go)
                await connection.execute("select 1")


async def test_limits_cost_no_round_trip(way: str, environ: dict[str, str], tmp_path: Path) -> None:
    """数服务器说了几次「好了」：一次往返一次。"""
    async with await open_connection(settings_to(way, environ).database, "test") as connection:
        for _ in range(10):  # 攒够了次数就预备语句，那一次多一趟
            await connection.execute("select %s::int", (1,))
        with round_trips(connection, tmp_path / "alone") as alone:
            await connection.execute("select %s::int", (1,))
        with round_trips(connection, tmp_path / "together") as together:
            async with connection.transaction():
                await connection.execute("select %s::int", (1,))
    assert (alone(), together()) == (1, BEGIN_STATEMENT_COMMIT)


@contextmanager
def round_trips(connection: LimitedConnection, file: Path) -> Iterator[Callable[[], int]]:
    """libpq 自己记下的收发。"""
    with file.open("w") as trace:
        connection.pgconn.trace(trace.fileno())
        yield lambda: file.read_text().count("ReadyForQuery")
        connection.pgconn.untrace()


async def test_nothing_is_left_in_a_session_that_others_share(
    pooler: Pooler, direct_url: str, environ: dict[str, str]
) -> None:
    url = pooler.url_of(direct_url)
    async with open_pool(settings_to(url, environ).database, "test") as pool, pool.connection() as connection:
        await connection.execute("select 1")
        async with connection.transaction():
            await connection.execute("select 1")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as stranger:
        assert await (await stranger.execute(SETTINGS)).fetchone() == NONE


async def test_statements_are_prepared_where_the_pooler_keeps_them(
    pooler: Pooler, plain_pooler: Pooler, direct_url: str, environ: dict[str, str]
) -> None:
    """几条连接同时做，服务器连接因此换来换去：没有代管时，预备过的语句会找不到。"""
    prepared = {}
    for url in (direct_url, pooler.url_of(direct_url), plain_pooler.url_of(direct_url)):
        async with open_pool(settings_to(url, environ).database, "test") as pool:

            async def often(pool: Pool = pool) -> bool:
                async with pool.connection() as connection:
                    for number in range(20):
                        cursor = await connection.execute("select %s::int", (number,))
                        assert await cursor.fetchone() == (number,)
                    # 出了错，psycopg 把预备过的全丢掉
                    with pytest.raises(psycopg.errors.DivisionByZero):
                        async with connection.transaction():
                            await connection.execute("select 1 / %s::int", (0,))
                    cursor = await connection.execute("select %s::int", (20,))
                    assert await cursor.fetchone() == (20,)
                    return connection.prepare_threshold is not None

            prepared[url] = await asyncio.gather(*(often() for _ in range(5)))
    stock = pooler.version >= KEPT_BY_DEFAULT
    assert [set(found) for found in prepared.values()] == [{True}, {stock}, {False}]


async def test_migrations_go_up_and_down_through_it_and_leave_nothing(
    plain_pooler: Pooler, admin: psycopg.Connection, postgres_server: PostgresServer
) -> None:
    admin.execute(f"create database through_pooler owner {ROLE}")
    try:
        direct = postgres_server.url_of("through_pooler")
        url = plain_pooler.url_of(direct)
        async with await psycopg.AsyncConnection.connect(direct, autocommit=True) as other:
            # 别的迁移正做着：等它
            await other.execute("select pg_advisory_lock(%s)", [0x6B_67_75_61_6E])
            migrating = asyncio.create_task(asyncio.to_thread(migrate.upgrade, url))
            await eventually(lambda: positive(other, REFUSED))
            assert migrate.status(direct).current is None
            await other.execute("select pg_advisory_unlock(%s)", [0x6B_67_75_61_6E])
            await migrating
            assert migrate.status(url).up_to_date
            await asyncio.to_thread(migrate.downgrade, url, "base")
            assert migrate.status(url).current is None
            assert not await positive(other, "select count(*) from pg_locks where locktype = 'advisory'")
        # 池子手里的服务器连接都是干净的：同时借出来看
        async with AsyncExitStack() as borrowed:
            for _ in range(len(plain_pooler.tell("show servers"))):
                stranger = await borrowed.enter_async_context(await psycopg.AsyncConnection.connect(url))
                assert await (await stranger.execute(SETTINGS)).fetchone() == NONE
    finally:
        alone(admin, "drop database through_pooler with (force)")


async def positive(connection: psycopg.AsyncConnection[Any], query: str) -> bool:
    row = await (await connection.execute(query.encode())).fetchone()
    return row is not None and row[0] > 0


@pytest.mark.parametrize("way", ["pooler", "plain_pooler"], indirect=True)
async def test_a_task_goes_its_whole_way(way: str, environ: dict[str, str]) -> None:
    """API、relay、worker 都经它：受理、转交、认领、执行、结算，与几个寻常的请求。"""
    settings = load_settings({**environ, "KAGUAN_DATABASE__URL": way})
    types, stop = task_types(settings.smtp), asyncio.Event()
    async with (
        serving(settings) as api,
        open_pipeline(settings, api.pool) as pipeline,
        pipeline.working(Recorder()),
        alongside(relay.serve(settings, stop, types), "relay"),
    ):
        user = await api.post("/users", {"username": "pooled", "email": "p@example.com", "password": "long enough"})
        assert user.status == 201
        mail = {"to": ["a@example.com"], "subject": "s", "body": "b"}
        accepted = [await api.post("/tasks/email", mail) for _ in range(10)]
        batch = await api.post("/tasks/batch", {"tasks": [{"type": "email:send", **mail}] * 3})
        assert {reply.status for reply in accepted} == {202}, accepted
        assert batch.data["accepted"] == 3, batch.text
        conflict = await api.post("/users", {"username": "pooled", "email": "q@example.com", "password": "long enough"})
        assert conflict.status == 409
        key = {"Idempotency-Key": "once"}
        twice = [await api.call("POST", "/tasks/email", mail, key) for _ in range(2)]
        assert len({reply.data["task_id"] for reply in twice}) == 1

        async def done() -> bool:
            listed = await api.get("/tasks?page_size=100")
            return {task["status"] for task in listed.data["items"]} == {"succeeded"}

        await eventually(done)
        stop.set()
