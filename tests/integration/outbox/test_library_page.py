"""docs/library.md 的代码合起来是一个程序：检查类型，跑一遍；照它写而写错了的，检查类型时就知道。"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from kaguan.config import Settings
from kaguan.outbox import TaskStatusError, watch
from tests.support.child_pytest import GUEST, NO_REDIS, guest_pytest
from tests.support.eventually import PATIENCE, WHOLE_TEST
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "library.md"
EXAMPLE = ROOT / "examples" / "outbox_in_your_app.py"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SQL = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLES = """
create table shop_order (id int primary key);
create table receipt (order_id int);
create table receipt_count (order_id int, receipts int);
"""

# 载荷与类型对不上的
GUESTS = """
from kaguan.outbox import Attempt, Done, Effect, Happened, Outbox, Payload, TaskType, VerifiedOutcome
from kaguan.outbox.accept.acceptance import Submission


class Parcel(Payload):
    v: int = 2
    street: str
    floor: int = 0  # since version 2


class Letter(Payload):
    text: str


LETTER = TaskType("letter:send", Letter, Effect.REPEATABLE)
shop = Outbox("shop", database="", redis="")
parcel = shop.type("parcel:send", Parcel)


async def read(attempt: Attempt[Parcel]) -> Done:
    return Done({"street": attempt.payload.street.upper(), "floor": attempt.payload.floor + 1})


async def write(attempt: Attempt[Letter]) -> Done:
    return Done({"text": attempt.payload.text})


async def count(attempt: Attempt) -> Done:
    return Done({"attempt": attempt.attempt})


async def ask(attempt: Attempt[Letter]) -> VerifiedOutcome | None:
    return Happened(Done({"text": attempt.payload.text}))


async def nothing(attempt: Attempt[Parcel]) -> None:
    attempt.payload.street.text  # wrong


Submission(LETTER, Letter(text="x"))
Submission(LETTER, Parcel(street="Elm Street"))  # wrong
shop.task("parcel:read", Parcel)(read)
shop.task("parcel:count", Parcel)(count)
shop.task("parcel:write", Parcel)(write)  # wrong
shop.task("parcel:ask", Parcel, verify=ask)(read)  # wrong
shop.task("parcel:lose", Parcel)(nothing)  # wrong
shop.handles(parcel)(read)
shop.handles(parcel)(write)  # wrong
shop.schedule("weekly", "0 0 * * 1", parcel, Parcel(street="Elm Street"))
shop.schedule("monthly", "0 0 1 * *", parcel, Letter(text="x"))  # wrong


async def submit() -> None:
    async with shop.transaction() as tx:
        await parcel.accept(tx, Parcel(street="Elm Street"))
        await parcel.accept(tx, Letter(text="x"))  # wrong
"""


def program() -> str:
    return "\n\n".join(BLOCK.findall(PAGE.read_text("utf-8")))


@pytest.fixture
def page(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """那个程序，名字都在；它的表建好了。"""
    url = settings.database.url.get_secret_value()
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("REDIS_URL", settings.redis.url.get_secret_value())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
    module = ModuleType("library_page")
    exec(compile(program(), PAGE.name, "exec"), vars(module))  # noqa: S102 我们自己的文档
    return module


@pytest.mark.direct("客人的用例插件要一条自己的会话：临时表、会话里的设置")
def test_the_pages_own_tests_pass(page: Any, tmp_path: Path) -> None:
    """由 wheel 里的插件，像客人那样跑；不要 Redis。"""
    assert page.shop
    ran = guest_pytest(
        tmp_path,
        {"page.py": program(), "pytest.ini": GUEST.format(outbox="page:shop", files="page.py")},
        REDIS_URL=NO_REDIS,
    )
    assert re.search(r"^3 passed in ", ran, re.MULTILINE), ran


async def test_the_page_runs_as_printed(page: Any, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    await page.main()
    assert "status='succeeded'" in capsys.readouterr().out.splitlines()[-1]
    with psycopg.connect(settings.database.url.get_secret_value()) as beside:
        assert beside.execute("select order_id from receipt").fetchall() == [(1,)]
    url = settings.database.url.get_secret_value().replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_async_engine(url, poolclass=NullPool)
    with psycopg.connect(settings.database.url.get_secret_value(), autocommit=True) as elsewhere:
        for statements in SQL.findall(PAGE.read_text("utf-8")):
            elsewhere.execute(statements)
    with Session(create_engine(url, poolclass=NullPool)) as blocking:
        page.buy_without_waiting(blocking, 4)
    async with page.shop.running(), AsyncSession(engine) as session:
        await page.buy_by_session(session, 2)
        async with page.shop.transaction() as tx:
            await page.charge.accept(tx, page.Charge(order_id=2))
            for order_id in range(2, 5):
                await page.count_receipts.accept(tx, page.Receipt(order_id=order_id))
        async with page.shop.pool.connection() as connection:
            found = await (await connection.execute("select id from tb_task order by id")).fetchall()
            ended = await watch(connection, [row[0] for row in found], PATIENCE, lambda _: None)
            with pytest.raises(TaskStatusError, match="already succeeded"):
                await page.settle_by_hand(ended[0].id)
            receipts = await (await connection.execute("select order_id from receipt order by 1")).fetchall()
            counted = await (await connection.execute("select order_id from receipt_count order by 1")).fetchall()
    await engine.dispose()
    assert {(task.type, task.status, task.attempt) for task in ended} == {
        ("receipt:write", "succeeded", 1),
        ("parcel:send", "succeeded", 2),
        ("card:charge", "succeeded", 1),
        ("receipt:count", "succeeded", 1),
    }
    assert receipts == [(1,), (3,)]
    assert counted == [(2,), (3,), (4,)]
    assert page.charged == [2]


@pytest.mark.parametrize(
    "checker",
    [
        pytest.param(
            (sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", os.devnull),
            id="mypy",
        ),
        pytest.param(
            ("basedpyright", "--pythonpath", sys.executable, "--level", "error"), id="pyright", marks=pytest.mark.long
        ),
    ],
)
def test_what_does_not_fit_its_type_is_a_type_error_and_page_and_example_have_none(
    checker: tuple[str, ...], tmp_path: Path
) -> None:
    """读者的检查器没有我们的配置与插件。"""
    (tmp_path / "page.py").write_text(program(), "utf-8")
    (tmp_path / "guest.py").write_text(GUESTS, "utf-8")
    shutil.copy(EXAMPLE, tmp_path)
    name, *options = checker
    command = [str(Path(sys.executable).parent / name), *options, "page.py", "guest.py", EXAMPLE.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WHOLE_TEST, check=False)
    told = {(name, int(line)) for name, line in re.findall(r"([\w.-]+):(\d+):", done.stdout)}
    wrong = {("guest.py", n) for n, line in enumerate(GUESTS.splitlines(), 1) if line.endswith("# wrong")}
    assert told == wrong, done.stdout + done.stderr
