"""各用各的名字：同一个库、同一个 Redis 上互不相见；没有装好的、是别人的，一开始就拒绝。"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from redis.asyncio import Redis
from sqlalchemy import Column, Integer, MetaData, Table, create_engine
from sqlalchemy.pool import NullPool

from kaguan.config import Settings
from kaguan.outbox import (
    Attempt,
    Connection,
    Done,
    ForeignKeysError,
    NotInstalledError,
    Outbox,
    Payload,
    Task,
    install_sql,
    watch,
)
from tests.support.eventually import PATIENCE, eventually
from tests.support.folded import folded

MANY = 20
REVISION = '''"""Install the outbox of the shop."""

from alembic import op

from kaguan.outbox import install_sql

revision, down_revision = "1", None


def upgrade() -> None:
    op.execute(install_sql("shop"))


def downgrade() -> None:
    op.execute("drop schema shop cascade")
'''
ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

with create_engine(context.config.attributes["url"], poolclass=NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


class Number(Payload):
    number: int


def outbox(settings: Settings, name: str, url: str | None = None) -> Outbox:
    return Outbox(name, database=url or settings.database, redis=settings.redis)


def counting(of: Outbox, seen: list[int]) -> Task[Number]:
    @of.task("number:count", Number)
    async def count(attempt: Attempt[Number]) -> Done:
        seen.append(attempt.payload.number)
        return Done()

    return count


async def is_empty(connection: Connection) -> bool:
    """交出它们的事务也提交了，没有一个搁着。"""
    cursor = await connection.execute("select count(*) from tb_outbox")
    return await cursor.fetchone() == (0,)


async def test_two_applications_on_one_database_and_one_redis_do_not_see_each_other(settings: Settings) -> None:
    """同样的类型名、同样的有序键与请求号：各做各的，谁也不搁下谁的。"""
    seen: dict[str, list[int]] = {"shop": [], "depot": []}
    apps = {name: outbox(settings, name) for name in seen}
    tasks = {name: counting(apps[name], seen[name]) for name in seen}
    async with AsyncExitStack() as stack:
        for app in apps.values():
            await app.install()
            await stack.enter_async_context(app.running())
        ids: dict[str, list[Any]] = {name: [] for name in seen}
        for number in range(MANY):
            for start, (name, app) in enumerate(apps.items()):
                async with app.transaction() as tx:
                    payload = Number(number=number + start * MANY)
                    key = "one" if number % 2 else None
                    accepted = await tasks[name].accept(tx, payload, request_id=f"{number}", key=key)
                ids[name].append(accepted.task_id)
        for name, app in apps.items():
            async with app.pool.connection() as connection:
                found = await watch(connection, ids[name], PATIENCE, lambda _: None)
                assert {task.status for task in found} == {"succeeded"}
                await eventually(partial(is_empty, connection))
        async with Redis.from_url(settings.redis.url.get_secret_value()) as redis:
            others = [
                key async for key in redis.scan_iter("*") if b"kaguan.shop" not in key and b"kaguan.depot" not in key
            ]
    assert sorted(seen["shop"]) == list(range(MANY))
    assert sorted(seen["depot"]) == list(range(MANY, 2 * MANY))
    assert others == []


async def test_what_is_not_installed_says_what_to_run(settings: Settings) -> None:
    shop = outbox(settings, "shop")
    with pytest.raises(NotInstalledError, match=r"not installed.*install\(\).*install_sql"):
        async with shop.opened():
            pass
    with pytest.raises(NotInstalledError, match="not installed"):
        await shop.migrate()
    await shop.install()
    await shop.install()
    async with shop.opened():
        pass


@pytest.mark.parametrize(("version", "told"), [(0, r"await outbox.migrate\(\)"), (9, "newer kaguan")])
async def test_tables_of_another_version_are_refused(settings: Settings, version: int, told: str) -> None:
    shop = outbox(settings, "shop")
    await shop.install()
    with psycopg.connect(settings.database.url.get_secret_value()) as connection:
        connection.execute("update shop.tb_installation set version = %s", [version])
    with pytest.raises(NotInstalledError, match=told):
        async with shop.opened():
            pass


@pytest.mark.direct("库是现建的；经连接池，池子还连着从前的那个，删不掉")
async def test_another_database_behind_the_same_name_and_redis_is_refused(
    settings: Settings, empty_database: str
) -> None:
    here, there = outbox(settings, "shop"), outbox(settings, "shop", empty_database)
    await here.install()
    await there.install()
    async with here.opened():
        pass
    with pytest.raises(ForeignKeysError, match="another database's") as refused:
        async with there.opened():
            pass
    async with Redis.from_url(settings.redis.url.get_secret_value()) as redis:
        assert "DEL kaguan.shop:owner" in str(refused.value)
        await redis.delete("kaguan.shop:owner")
    async with there.opened():
        pass


@folded("name", ("kaguan", "public", "pg_shop", "Shop", "1shop", "", "s" * 33))
async def test_a_name_that_cannot_be_a_schema_of_its_own_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(ValueError, match="a name is up to 32"):
        outbox(settings, name)


async def test_the_names_of_keywords_do(settings: Settings) -> None:
    order = outbox(settings, "order")
    await order.install()
    async with order.opened():
        pass


@pytest.mark.direct("库是现建的；经连接池，池子还连着从前的那个，删不掉")
def test_a_migration_of_the_guests_own_installs_it_and_autogenerate_leaves_it_alone(
    empty_database: str, tmp_path: Path
) -> None:
    """他的表在 public，我们的在自己的模式里：他比对自己的表，看不见我们的。"""
    url = empty_database.replace("postgresql://", "postgresql+psycopg://", 1)
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "1_install.py").write_text(REVISION, "utf-8")
    (tmp_path / "env.py").write_text(ENVIRONMENT, "utf-8")
    config = Config(attributes={"url": url})
    config.set_main_option("script_location", str(tmp_path))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")
    metadata = MetaData()
    Table("shop_order", metadata, Column("id", Integer, primary_key=True))
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        metadata.create_all(connection)
        assert connection.exec_driver_sql("show search_path").scalar() == '"$user", public'
        found = compare_metadata(MigrationContext.configure(connection), metadata)
        assert [change for change in found if "alembic_version" not in str(change)] == []
    command.downgrade(config, "base")
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("select to_regnamespace('shop')").fetchone() == (None,)


def test_the_statement_has_no_sign_that_a_driver_reads_as_a_parameter() -> None:
    statement = install_sql("shop")
    assert "%" not in statement
    assert ";" in statement
    assert statement.strip().startswith("do $install$")
