"""wheel 里的 pytest 插件，从客人的座位上看：入口、夹具、该过的过、该红的红；用不着的项目不为它付什么。"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.child_pytest import GUEST, NO_REDIS, guest_pytest

SHOP = """
import os
import psycopg
from kaguan.outbox import Attempt, Connection, Done, Outbox, Payload

shop = Outbox("shop", database=os.environ["DATABASE_URL"], redis=os.environ["REDIS_URL"])


class Receipt(Payload):
    order_id: int


@shop.task("receipt:write", Receipt)
async def sound(attempt: Attempt[Receipt]) -> Done:
    async def effect(connection: Connection) -> None:
        await connection.execute("insert into receipt values (%s)", (attempt.payload.order_id,))

    return Done({}, effect)


@shop.task("receipt:scribble", Receipt)
async def broken(attempt: Attempt[Receipt]) -> Done:
    async with await psycopg.AsyncConnection.connect(shop.database, autocommit=True) as other:
        await other.execute("insert into receipt values (%s)", (attempt.payload.order_id,))
    return Done()


async def buy(order_id: int) -> None:
    async with shop.transaction() as tx:
        await sound.accept(tx, Receipt(order_id=order_id), request_id=f"r{order_id}", key="k")
"""
TESTS = """
import pytest
from shop import Receipt, broken, buy, shop, sound

@pytest.fixture(autouse=True)
async def tables(outbox):
    async with outbox.pool.connection() as connection:
        await connection.execute("create table if not exists public.receipt (order_id int); truncate receipt")

async def test_what_is_accepted_is_seen_and_done(outbox, accepted, drain):
    assert outbox is shop
    async with accepted(sound, order_id=7, request_id="r7", key="k") as tasks, accepted(broken, count=0):
        await buy(7)
    assert [task.payload["order_id"] for task in tasks] == [7]
    assert await drain() == {"succeeded": 1}

async def test_each_test_begins_empty(outbox, drain):
    assert await drain() == {}

async def test_what_is_not_accepted_is_missed(accepted):
    async with accepted(sound, order_id=8):
        await buy(7)

async def test_sound(every_crash_point):
    await every_crash_point(sound, Receipt(order_id=7))

async def test_broken(every_crash_point):
    await every_crash_point(broken, Receipt(order_id=7), effects="select order_id from receipt")
"""
# 它里面另有一个用例要夹具，却没有说是哪个发件箱
BYSTANDER = """
import sys

def test_nothing_of_it_is_loaded(request):
    assert request.config.pluginmanager.hasplugin("kaguan")
    heavy = {"kaguan.outbox.front", "kaguan.outbox.testing.fixtures", "psycopg", "pydantic", "redis", "saq"}
    assert heavy & set(sys.modules) == set()

def test_a(outbox_under_test): ...
"""


@pytest.mark.direct("库是现建的；经连接池，池子还连着从前的那个，删不掉")
def test_a_guest_sees_the_sound_pass_and_the_broken_fail_with_the_point_named(
    empty_database: str, tmp_path: Path
) -> None:
    files = {"shop.py": SHOP, "test_shop.py": TESTS, "pytest.ini": GUEST.format(outbox="shop:shop", files="test_*.py")}
    said = guest_pytest(tmp_path, files, DATABASE_URL=empty_database, REDIS_URL=NO_REDIS)
    assert "2 failed, 3 passed" in said, said
    assert "accepted 0, not 1, of receipt:write {'order_id': 8}" in said
    assert "  r7 k {'v': 1, 'order_id': 7}" in said
    assert (
        "receipt:scribble is not proven: the effect is not once: PostgreSQL holds [(7,), (7,)],"
        " an undisturbed run leaves [(7,)]"
    ) in said
    (line,) = (number for number, text in enumerate(SHOP.splitlines(), 1) if "other.execute" in text)
    assert f"at     shop.py:{line} `await other.execute(" in said
    assert "fault  the process is killed" in said
    assert "then   its lease runs out, the task is delivered again" in said


@pytest.mark.parametrize("line", ["", "kaguan_outbox = shop"])
def test_an_unrelated_project_loads_nothing_behind_the_plugin_and_the_fixture_says_what_to_write(
    line: str, tmp_path: Path
) -> None:
    said = guest_pytest(tmp_path, {"test_bystander.py": BYSTANDER, "pytest.ini": f"[pytest]\n{line}\n"})
    assert "1 passed, 1 error" in said, said
    assert 'kaguan_outbox = "module:name" in the ini file, or a fixture outbox_under_test' in said
