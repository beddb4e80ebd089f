"""没有配置时的时限：一条语句三秒，等锁一秒；三条路（池、SQLAlchemy、单独的连接）都一样，到了真的停。"""

from __future__ import annotations

import pytest
from psycopg import InternalError
from sqlalchemy import text

from kaguan.config import load_settings
from kaguan.database.engine import engine_on
from kaguan.database.pool import PASSING_ERRORS, open_connection, open_pool
from tests.support.said import capture_logs
from tests.support.serving import serving

LIMITS = "select current_setting('statement_timeout'), current_setting('lock_timeout')"
DEFAULTS = ("3s", "1s")
TRANSACTION_TIMEOUT_SINCE = 170_000  # server_version_num
ENDLESS = (
    "create function dawdle() returns trigger language plpgsql as $$ begin perform pg_sleep(600); return new; end $$",
    "create trigger dawdle before insert on tb_user for each row execute function dawdle()",
)
USER = {"username": "zhang", "email": "zhang@example.com", "password": "a long password"}


@pytest.mark.parametrize("way", ["pool", "sqlalchemy", "alone"])
async def test_a_statement_has_three_seconds_unless_configured(database_url: str, way: str) -> None:
    config = load_settings({"KAGUAN_ENV": "dev", "KAGUAN_DATABASE__URL": database_url}).database
    if way == "alone":
        async with await open_connection(config, "test") as alone, alone.transaction():
            assert await (await alone.execute(LIMITS)).fetchone() == DEFAULTS
        return
    async with open_pool(config, "test") as pool:
        if way == "pool":
            async with pool.connection() as connection, connection.transaction():
                assert await (await connection.execute(LIMITS)).fetchone() == DEFAULTS
        else:
            engine = engine_on(pool)
            async with engine.begin() as session:
                assert tuple((await session.execute(text(LIMITS))).one()) == DEFAULTS
            await engine.dispose()


async def test_a_statement_without_end_is_stopped_by_the_default_limit_and_the_client_is_told(
    environ: dict[str, str],
) -> None:
    """请求的时限放得远远的：停下的只能是语句的那一个。"""
    given = {name: value for name, value in environ.items() if name != "KAGUAN_DATABASE__STATEMENT_TIMEOUT"}
    settings = load_settings({**given, "KAGUAN_API__REQUEST_TIMEOUT": "100"})
    async with serving(settings) as api:
        for statement in ENDLESS:
            await api.rows(statement)
        with capture_logs() as logged:
            reply = await api.post("/users", USER)
        assert (reply.status, reply.code, reply.body["msg"]) == (504, 2004, "处理超时")
        assert [entry["cause"] for entry in logged if entry["event"] == "请求未完成"] == ["QueryCanceled"]
        assert await api.rows("select count(*) from tb_user") == [(0,)]


async def test_a_transaction_ended_by_the_servers_own_limit_is_a_passing_error(database_url: str) -> None:
    """PostgreSQL 17 起可以给角色设 ``transaction_timeout``：会话没了，过一会儿再来，不是处理器的意外。"""
    config = load_settings({"KAGUAN_ENV": "dev", "KAGUAN_DATABASE__URL": database_url}).database
    connection = await open_connection(config, "test")
    if connection.info.server_version < TRANSACTION_TIMEOUT_SINCE:
        pytest.skip("这个版本没有 transaction_timeout")
    await connection.execute("set transaction_timeout = '20ms'")
    with pytest.raises(InternalError) as ended:
        async with connection.transaction():
            await connection.execute("select pg_sleep(60)")
    assert isinstance(ended.value, PASSING_ERRORS)
