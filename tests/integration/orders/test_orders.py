"""订单的路由：建单（两种归属）、状态机、邮件、软删除、条件请求。"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

from tests.support.folded import folded
from tests.support.serving import Api, Reply

USER: dict[str, Any] = {"username": "zhang.san", "email": "zhang@example.com", "password": "correct horse"}


async def a_user(api: Api) -> int:
    return int((await api.post("/users", USER)).data["id"])


async def an_order(api: Api, **fields: object) -> Reply:
    reply = await api.post("/orders", {"user_id": await a_user(api), "amount": 1999, **fields})
    assert reply.status == 201, reply.text
    return reply


async def mails(api: Api) -> list[tuple[str, ...]]:
    """已暂存的邮件：收件人与标题，按受理次序。"""
    return await api.rows("select payload->'to'->>0, payload->>'subject' from vw_task order by id")


async def test_an_order_for_an_existing_user_stages_its_mail(api: Api) -> None:
    user_id = await a_user(api)
    reply = await api.post("/orders", {"order_id": "A-1", "user_id": user_id, "amount": 1999, "remark": "加急"})
    assert reply.status == 201
    order = reply.data
    assert reply.headers["Location"] == f"/api/v1/orders/{order['id']}"
    assert reply.headers["ETag"] == '"1"'
    assert (order["order_id"], order["user_id"], order["amount"]) == ("A-1", user_id, 1999)
    assert (order["currency"], order["status"], order["remark"], order["user"]) == ("CNY", "pending", "加急", None)
    [_, mail] = await mails(api)
    assert mail[0] == "zhang@example.com"
    assert "A-1" in mail[1]
    [(task_id, delivery)] = await api.rows(
        "select task_id::text, delivery from tb_outbox where task_id::text = %s", order["order_task_id"]
    )
    assert (task_id, delivery) == (order["order_task_id"], 1)
    assert len(api.rings) == 2


async def test_an_order_can_bring_its_user_along(api: Api) -> None:
    reply = await api.post("/orders", {"user": USER, "amount": 5, "currency": "USD"})
    assert reply.status == 201
    user = reply.data["user"]
    assert (user["username"], user["id"]) == ("zhang.san", reply.data["user_id"])
    assert (await api.get(f"/users/{user['id']}")).status == 200
    assert await api.rows("select id::text from vw_task order by id") == [
        (user["welcome_task_id"],),
        (reply.data["order_task_id"],),
    ]
    assert "correct horse" not in reply.text


async def test_a_number_is_made_when_none_is_given(api: Api) -> None:
    first = await an_order(api)
    second = await api.post("/orders", {"user_id": first.data["user_id"], "amount": 1})
    assert re.fullmatch(r"ORD[0-9A-F]{32}", first.data["order_id"])
    assert second.data["order_id"] > first.data["order_id"]


async def test_an_order_for_nobody_is_not_found(api: Api) -> None:
    deleted = await a_user(api)
    await api.delete(f"/users/{deleted}")
    for user_id in (deleted, 999):
        reply = await api.post("/orders", {"user_id": user_id, "amount": 1})
        assert (reply.status, reply.code) == (404, 1004)
    assert await api.rows("select count(*) from tb_order") == [(0,)]


@folded(
    ("body", "faulty"),
    [
        ({"amount": 1}, "body"),
        ({"amount": 1, "user_id": 1, "user": USER}, "body"),
        ({"user_id": 1}, "amount"),
        ({"user_id": 1, "amount": 0}, "amount"),
        ({"user_id": 1, "amount": -5}, "amount"),
        ({"user_id": 1, "amount": 1.0}, "amount"),
        ({"user_id": 1, "amount": 19.99}, "amount"),
        ({"user_id": 1, "amount": "100"}, "amount"),
        ({"user_id": 1, "amount": True}, "amount"),
        ({"user_id": 1, "amount": 2**63}, "amount"),
        ({"user_id": True, "amount": 1}, "user_id"),
        ({"user_id": 0, "amount": 1}, "user_id"),
        ({"user_id": 2**63, "amount": 1}, "user_id"),
        ({"user_id": None, "user": USER, "amount": 1}, "user_id"),
        ({"user_id": 1, "amount": 1, "currency": "cny"}, "currency"),
        ({"user_id": 1, "amount": 1, "currency": "XXX"}, "currency"),
        ({"user_id": 1, "amount": 1, "order_id": ""}, "order_id"),
        ({"user_id": 1, "amount": 1, "order_id": "a b"}, "order_id"),
        ({"user_id": 1, "amount": 1, "order_id": "a" * 65}, "order_id"),
        ({"user_id": 1, "amount": 1, "remark": "x" * 501}, "remark"),
        ({"user_id": 1, "amount": 1, "remark": "a\x00b"}, "remark"),
        ({"user_id": 1, "amount": 1, "status": "paid"}, "status"),
        ({"user_id": 1, "amount": 1, "version": 9}, "version"),
        ({"user": {**USER, "password": "short"}, "amount": 1}, "user.password"),
        ({"user": {**USER, "status": "active"}, "amount": 1}, "user.status"),
    ],
)
async def test_a_bad_order_is_refused_by_name(api: Api, body: dict[str, Any], faulty: str) -> None:
    reply = await api.post("/orders", body)
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, [faulty])
    assert await api.rows("select count(*) from tb_order") == [(0,)]


async def test_the_largest_amount_survives_the_way_there_and_back(api: Api) -> None:
    reply = await an_order(api, amount=2**63 - 1)
    assert (await api.get(f"/orders/{reply.data['id']}")).data["amount"] == 2**63 - 1


async def test_an_order_number_is_unique_until_its_order_is_deleted(api: Api) -> None:
    first = await an_order(api, order_id="A-1")
    body = {"order_id": "A-1", "user_id": first.data["user_id"], "amount": 1}
    duplicate = await api.post("/orders", body)
    assert (duplicate.status, duplicate.code, duplicate.faulty) == (409, 1005, ["order_id"])
    assert (await api.delete(f"/orders/{first.data['id']}")).status == 200
    assert (await api.get(f"/orders/{first.data['id']}")).status == 404
    assert (await api.post("/orders", body)).status == 201


async def test_of_parallel_orders_with_one_number_exactly_one_is_made(api: Api) -> None:
    body = {"order_id": "A-1", "user_id": await a_user(api), "amount": 1}
    replies = await asyncio.gather(*(api.post("/orders", body) for _ in range(12)))
    assert Counter(reply.status for reply in replies) == {201: 1, 409: 11}
    assert await api.rows("select count(*) from tb_order") == [(1,)]
    assert await api.rows("select count(*) from vw_task") == [(2,)]


async def test_the_whole_way_of_an_order_mails_every_step(api: Api) -> None:
    order = await an_order(api, order_id="A-1")
    path = f"/orders/{order.data['id']}"
    for version, status in enumerate(("paid", "processing", "completed"), start=2):
        reply = await api.put(path, {"status": status})
        assert (reply.status, reply.data["status"], reply.data["version"]) == (200, status, version)
        assert reply.headers["ETag"] == f'"{version}"'
    sent = await mails(api)
    assert len(sent) == 5
    assert {recipient for recipient, _ in sent} == {"zhang@example.com"}
    assert len(set(sent)) == 5


async def test_a_move_that_is_not_allowed_is_a_conflict_and_mails_nobody(api: Api) -> None:
    order = await an_order(api)
    path = f"/orders/{order.data['id']}"
    for status in ("pending", "processing", "completed"):
        reply = await api.put(path, {"status": status, "remark": "不该写下"})
        assert (reply.status, reply.code, reply.faulty) == (409, 1005, ["status"])
    assert (await api.get(path)).data == {k: v for k, v in order.data.items() if k not in {"order_task_id", "user"}}
    assert len(await mails(api)) == 2


async def test_of_parallel_moves_one_wins_and_one_mail_is_staged(api: Api) -> None:
    order = await an_order(api)
    path = f"/orders/{order.data['id']}"
    replies = await asyncio.gather(*(api.put(path, {"status": "paid"}) for _ in range(8)))
    assert Counter(reply.status for reply in replies) == {200: 1, 409: 7}
    assert len(await mails(api)) == 3


async def test_a_remark_can_be_changed_and_cleared_without_a_mail(api: Api) -> None:
    order = await an_order(api, remark="一")
    path = f"/orders/{order.data['id']}"
    assert (await api.put(path, {"remark": "二"})).data["remark"] == "二"
    assert (await api.put(path, {"remark": None})).data["remark"] is None
    assert len(await mails(api)) == 2


@folded(
    ("change", "faulty"),
    [
        ({}, "body"),
        ({"status": None}, "status"),
        ({"status": "shipped"}, "status"),
        ({"amount": 1}, "amount"),
        ({"user_id": 2}, "user_id"),
        ({"order_id": "B"}, "order_id"),
        ({"version": 1, "status": "paid"}, "version"),
    ],
)
async def test_what_an_order_is_cannot_be_rewritten(api: Api, change: dict[str, Any], faulty: str) -> None:
    await api.rows("truncate tb_user cascade")
    order = await an_order(api)
    reply = await api.put(f"/orders/{order.data['id']}", change)
    assert (reply.status, reply.code, reply.faulty) == (400, 1001, [faulty])


async def test_if_match_guards_changes_and_deletion(api: Api) -> None:
    order = await an_order(api)
    path = f"/orders/{order.data['id']}"
    assert (await api.put(path, {"status": "paid"}, {"If-Match": '"7"'})).code == 1013
    assert (await api.delete(path, {"If-Match": '"7"'})).status == 412
    assert (await api.put(path, {"status": "paid"}, {"If-Match": '"1"'})).status == 200
    assert (await api.delete(path, {"If-Match": '"2"'})).status == 200
    assert (await api.put(path, {"status": "processing"})).status == 404
    assert (await api.delete(path)).status == 404


async def test_a_move_after_the_user_is_gone_is_made_without_a_mail(api: Api) -> None:
    order = await an_order(api)
    await api.delete(f"/users/{order.data['user_id']}")
    assert (await api.put(f"/orders/{order.data['id']}", {"status": "cancelled"})).status == 200
    assert len(await mails(api)) == 2


async def test_orders_are_listed_by_user_and_status(api: Api) -> None:
    await api.rows(
        "insert into tb_order (order_id, user_id, amount, status)"
        " select 'o' || n, n %% 3 + 1, n, case when n %% 2 = 0 then 'paid' else 'pending' end"
        " from generate_series(1, %s) as n",
        30,
    )
    everything = (await api.get("/orders?page_size=30")).data
    assert (everything["total"], [item["amount"] for item in everything["items"]]) == (30, list(range(30, 0, -1)))
    of_user = (await api.get("/orders?user_id=2&page_size=5")).data
    assert (of_user["total"], {item["user_id"] for item in of_user["items"]}) == (10, {2})
    both = (await api.get("/orders?user_id=2&status=paid")).data
    assert (both["total"], [item["amount"] for item in both["items"]]) == (5, [28, 22, 16, 10, 4])
    for query, faulty in (("user_id=x", "user_id"), ("user_id=0", "user_id"), ("status=shipped", "status")):
        assert (await api.get(f"/orders?{query}")).faulty == [faulty]
