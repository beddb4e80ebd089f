"""列表的习惯：一种翻法走遍每个列表；旧名照收而说明；次序、时间段与恰好相等的条件。"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kaguan.config import load_settings
from kaguan.product.task_types import NAMES
from kaguan.sims.iccid import with_check_digit
from kaguan.words.units import DAY
from tests.support.folded import folded
from tests.support.serving import Api, serving

SCHEDULES = [
    {
        "name": f"nightly-{n}",
        "cron": "0 3 * * *",
        "type": "data:sync",
        "payload": {"sync_type": "usage", "start_date": "{today-1}", "end_date": "{today-1}"},
    }
    for n in range(5)
]
USERS = """
insert into tb_user (username, email, password_hash, status, created_at, updated_at)
select 'user' || n, 'user' || n || '@example.com', 'x', case when n % 2 = 0 then 'banned' else 'active' end,
       timestamptz '2026-01-01T00:00:00Z' + n * interval '1 hour',
       timestamptz '2026-02-01T00:00:00Z' - n / 2 * interval '1 hour'
from generate_series(1, 5) as n
"""
ORDERS = "insert into tb_order (order_id, user_id, amount) select 'ORD' || n, n, n from generate_series(1, 5) as n"
VANISHED = """
insert into tb_vanished (task_id, type, delivery)
select ('0190000000007000800000000000000' || n)::uuid, 'email:send', 1 from generate_series(1, 5) as n
"""
ICCIDS = [with_check_digit(f"898600{n:013d}") for n in range(5)]


@pytest.fixture
async def api(environ: dict[str, str]) -> AsyncIterator[Api]:
    async with serving(load_settings({**environ, "KAGUAN_SCHEDULES": json.dumps(SCHEDULES)})) as running:
        await running.rows(USERS)
        await running.rows(ORDERS)
        await running.rows(VANISHED)
        cards = [
            {"iccid": iccid, "carrier": "onelink", "msisdn": f"10647{n:08d}", "imsi": f"46004{n:010d}"}
            for n, iccid in enumerate(ICCIDS)
        ]
        await running.post("/sims", {"sims": cards})
        task = {"type": "sim:status_sync", "iccids": ICCIDS}
        await running.post("/tasks/batch", {"tasks": [task] * 5})
        for n in range(5):
            await running.post("/pauses", {"scope": "key", "name": f"k{n}", "reason": "r", "seconds": DAY})
        for name in NAMES[:4]:
            await running.call("PUT", f"/limits/types/{name}", {"at_once": 1, "reason": "r", "seconds": DAY})
        await running.rows(
            "insert into tb_concern (code, subject, since, parameters, warn_at) "
            """select 'deaf', n::text, now(), '{"count": 1}', now() from generate_series(1, 5) as n"""
        )
        await running.call("PUT", "/limits/carriers/onelink", {"at_once": 1, "reason": "r", "seconds": DAY})
        yield running


async def walk(api: Api, path: str, size: int = 2) -> list[Any]:
    """只用 ``page_size`` 与 ``cursor`` 走完一个列表。"""
    separator = "&" if "?" in path else "?"
    items, cursor = [], ""
    while True:
        reply = await api.get(f"{path}{separator}page_size={size}{cursor}")
        assert reply.status == 200, reply.text
        assert reply.data["page_size"] == size
        assert 0 < len(reply.data["items"]) <= size
        items += reply.data["items"]
        if reply.data["next_cursor"] is None:
            return items
        cursor = f"&cursor={reply.data['next_cursor']}"


async def test_one_way_of_paging_walks_every_list(api: Api) -> None:
    for path, key in (
        ("/users", "username"),
        ("/orders", "order_id"),
        ("/sims", "iccid"),
        ("/tasks", "task_id"),
        ("/tasks/vanished", "task_id"),
        ("/schedules", "name"),
        ("/pauses", "name"),
        ("/limits", "name"),
        ("/verdict/history", "id"),
    ):
        items = await walk(api, path)
        assert len(items) == len({item[key] for item in items}) == 5, path
    assert [item["name"] for item in await walk(api, "/schedules")] == [one["name"] for one in SCHEDULES]
    assert len((await api.get("/schedules")).data["items"]) == 5
    assert (await api.get("/schedules?cursor=nobody")).faulty == ["cursor"]


@folded(
    ("query", "order"),
    [
        ("", "54321"),
        ("?sort=-id", "54321"),
        ("?sort=id", "12345"),
        ("?sort=id&status=banned", "24"),
        ("?sort=created_at", "12345"),
        ("?sort=-created_at", "54321"),
        ("?sort=updated_at", "45231"),  # 2 与 3、4 与 5 同时：按 id
        ("?sort=-updated_at", "13254"),
        ("?since=2026-01-01T02:00:00Z&until=2026-01-01T04:00:00Z", "32"),
        ("?sort=created_at&since=2026-01-01T04:00:00Z", "45"),
        ("?sort=updated_at&until=2026-01-31T23:00:00Z", "45"),
        ("?sort=id&since=2026-01-01T03:00:00Z", "345"),
        ("?sort=-created_at&status=active", "531"),
        ("?sort=created_at&status=active&until=2026-01-01T05:00:00Z", "13"),
        ("?status=active&since=2026-01-01T02:00:00Z", "53"),
        ("?since=2026-01-01T03:00:00Z&username=user3", "3"),
        ("?username=USER3", "3"),
        ("?email=User3@Example.com", "3"),
    ],
)
async def test_users_come_in_the_order_asked_for_each_once(api: Api, query: str, order: str) -> None:
    users = await walk(api, f"/users{query}", size=1)
    assert "".join(user["username"][-1] for user in users) == order
    assert (await api.get(f"/users{query}")).data["total"] == len(order)


async def test_rows_whose_numbers_and_times_are_out_of_step_are_in_the_period_they_belong_to(api: Api) -> None:
    await api.rows("update tb_user set created_at = '2026-01-01T02:30:00Z' where username = 'user4'")
    for query, order in (("until=2026-01-01T02:45:00Z", "42"), ("since=2026-01-01T02:15:00Z", "4")):
        users = await walk(api, f"/users?status=banned&{query}")
        assert "".join(user["username"][-1] for user in users) == order


async def test_a_row_is_found_by_its_own_number(api: Api) -> None:
    [order] = (await api.get("/orders?order_id=ORD4")).data["items"]
    assert order["amount"] == 4
    for query in ("msisdn=1064700000003", "imsi=460040000000003", "carrier=onelink&msisdn=1064700000003"):
        [card] = (await api.get(f"/sims?{query}")).data["items"]
        assert card["iccid"] == ICCIDS[3], query
    assert (await api.get("/sims?msisdn=nobody")).data["items"] == []


@folded(
    ("query", "faulty"),
    [
        ("sort=username", "sort"),
        ("sort=updated_at&status=banned", "status"),
        ("sort=-updated_at&since=2026-01-01T00:00:00Z&email=a@example.com", "email"),
        ("since=yesterday", "since"),
    ],
)
async def test_an_order_that_no_index_serves_is_refused_by_name(api: Api, query: str, faulty: str) -> None:
    reply = await api.get(f"/users?{query}")
    assert (reply.status, reply.faulty) == (400, [faulty])


async def test_a_cursor_serves_its_own_order_only(api: Api) -> None:
    orders = ("-id", "id", "created_at", "-created_at", "updated_at", "-updated_at")
    cursors = {order: (await api.get(f"/users?sort={order}&page_size=1")).data["next_cursor"] for order in orders}
    for order in orders:
        for other, cursor in cursors.items():
            reply = await api.get(f"/users?sort={order}&cursor={cursor}")
            assert reply.status == (200 if order == other else 400), (order, other)
