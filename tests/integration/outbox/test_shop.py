"""examples/shop：一个客人的应用，迁移、用例、worker 进程，都照它自己写的跑。"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from kaguan.config import Settings
from tests.support.child_pytest import NO_REDIS, guest_pytest
from tests.support.eventually import PATIENCE, eventually
from tests.support.repository import ROOT

PYTHON = os.environ.get("KAGUAN_GUEST_PYTHON", sys.executable)  # 装着要发布的 wheel 的，或这里的
ORDER = """
import asyncio, app
async def main():
    async with app.web.router.lifespan_context(app.web):
        await app.place(app.Wanted(email="a@example.org", street="Elm Street"))
asyncio.run(main())
"""


@pytest.fixture
def shop(empty_database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """那个应用的一份，表由它的迁移建好。"""
    monkeypatch.setenv("DATABASE_URL", empty_database)
    monkeypatch.setenv("REDIS_URL", settings.redis.url.get_secret_value())
    place = Path(shutil.copytree(ROOT / "examples" / "shop", tmp_path / "shop"))
    ran(place, "-m", "alembic", "upgrade", "head")
    return place


def ran(shop: Path, *arguments: str) -> None:
    done = subprocess.run([PYTHON, *arguments], cwd=shop, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_migration_makes_what_its_models_say_and_can_be_undone(shop: Path, empty_database: str) -> None:
    """自动生成找不出差别，也不碰发件箱的表。"""
    ran(shop, "-m", "alembic", "check")
    ran(shop, "-m", "alembic", "downgrade", "base")
    with psycopg.connect(empty_database) as connection:
        left = connection.execute("select tablename from pg_tables where schemaname in ('public', 'shop')").fetchall()
    assert left == [("alembic_version",)]


def test_its_own_tests_pass(shop: Path) -> None:
    """插件由 wheel 的入口带来；不要 Redis。"""
    told = guest_pytest(shop, {}, python=PYTHON, REDIS_URL=NO_REDIS)
    assert re.search(r"^4 passed in ", told, re.MULTILINE), told


async def test_its_worker_does_an_order_and_leaves_when_told(shop: Path, empty_database: str) -> None:
    worker = await asyncio.create_subprocess_exec(PYTHON, "worker.py", cwd=shop, env=dict(os.environ))
    try:
        await asyncio.to_thread(ran, shop, "-c", ORDER)
        async with await psycopg.AsyncConnection.connect(empty_database, autocommit=True) as connection:

            async def done() -> bool:
                cursor = await connection.execute("select status from shop.vw_task")
                return await cursor.fetchall() == [("succeeded",)] * 3

            await eventually(done)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), PATIENCE) == 0
    assert [len((shop / book).read_text().split()) for book in ("mails.txt", "parcels.txt")] == [1, 1]
