"""没有配置时的时限：一条语句三秒，等锁一秒；三条路（池、SQLAlchemy、单独的连接）都一样。"""

from __future__ import annotations

import pytest
from sqlalchemy import text

from kaguan.config import load_settings
from kaguan.database.engine import engine_on
from kaguan.database.pool import open_connection, open_pool

LIMITS = "select current_setting('statement_timeout'), current_setting('lock_timeout')"
DEFAULTS = ("3s", "1s")


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
