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
from tests.support.eventually import PATIENCE, WHOLE_TEST, eventually
from tests.support.repository import ROOT

PYTHON = os.environ.get("KAGUAN_GUEST_PYTHON", sys.executable)  # 装着要发布的 wheel 的，或这里的
ORDER = """
import asyncio, app
async def main():
    async with app.web.router.lifespan_context(app.web):
        await app.place(app.Wanted(email="a@example.org", street="Elm Street"))
asyncio.run(main())
"""
MIGRATIONS = """
import os, psycopg
from alembic.config import main
for command in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
    main(command)
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    left = connection.execute("select tablename from pg_tables where schemaname in ('public', 'shop')").fetchall()
main(["upgrade", "head"])
print("left:", left)
"""


def ran(shop: Path, *arguments: str) -> str:
    done = subprocess.run(
        [PYTHON, *arguments], cwd=shop, capture_output=True, text=True, timeout=WHOLE_TEST, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.direct("库是现建的；经连接池，池子还连着从前的那个，删不掉")
async def test_it_migrates_does_an_order_and_passes_its_own_tests(
    empty_database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """迁移：自动生成找不出差别，不碰发件箱的表，退得回去；叫 worker 走它就走；用例的插件由 wheel 带来，不要 Redis。"""
    monkeypatch.setenv("DATABASE_URL", empty_database)
    monkeypatch.setenv("REDIS_URL", settings.redis.url.get_secret_value())
    shop = Path(shutil.copytree(ROOT / "examples" / "shop", tmp_path / "shop"))
    assert ran(shop, "-c", MIGRATIONS).endswith("left: [('alembic_version',)]\n")
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
    told = await asyncio.to_thread(guest_pytest, shop, {}, python=PYTHON, REDIS_URL=NO_REDIS)
    assert re.search(r"^4 passed in ", told, re.MULTILINE), told
