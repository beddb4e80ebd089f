"""业务日志：说得出是谁、什么操作、多久；说不出任何个人信息。"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.said import capture_logs
from tests.support.serving import Api

PLANTED = ("zhang.planted", "planted@example.com", "planted password", "$2b$")
USER = {"username": PLANTED[0], "email": PLANTED[1], "password": PLANTED[2]}


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    with capture_logs() as entries:
        yield entries


def operations(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["operation"]: entry for entry in entries if "operation" in entry}


async def test_every_operation_is_logged_with_its_ids_and_duration(api: Api, logged: list[dict[str, Any]]) -> None:
    user = (await api.post("/users", USER)).data
    order = (await api.post("/orders", {"order_id": "A-1", "user_id": user["id"], "amount": 1})).data
    await api.put(f"/orders/{order['id']}", {"status": "paid"})
    await api.delete(f"/orders/{order['id']}")
    await api.put(f"/users/{user['id']}", {"status": "banned"})
    await api.delete(f"/users/{user['id']}")
    seen = operations(logged)
    assert seen.keys() == {"user.create", "user.update", "user.delete", "order.create", "order.update", "order.delete"}
    for name, entry in seen.items():
        assert entry["event"] == "业务操作完成"
        assert entry["user_id"] == user["id"], name
        assert entry["duration_ms"] >= 0
        assert entry.get("order_id") == ("A-1" if name.startswith("order.") else None)
    assert seen["order.update"]["old_status"] == "pending"
    assert seen["order.update"]["new_status"] == "paid"
    assert seen["user.create"]["task_id"] == user["welcome_task_id"]


async def test_a_refused_operation_is_logged_with_its_code(api: Api, logged: list[dict[str, Any]]) -> None:
    await api.post("/users", USER)
    logged.clear()
    await api.post("/users", USER)
    [refused] = operations(logged).values()
    assert (refused["event"], refused["operation"], refused["code"]) == ("业务操作被拒绝", "user.create", 1005)


async def test_no_log_line_holds_personal_data(api: Api, logged: list[dict[str, Any]]) -> None:
    order = await api.post("/orders", {"user": USER, "amount": 1})
    await api.post("/users", USER)
    await api.put(f"/users/{order.data['user_id']}", {"password": PLANTED[2], "email": "x" + PLANTED[1]})
    everything = json.dumps(logged, default=str, ensure_ascii=False)
    assert operations(logged)
    for planted in PLANTED:
        assert planted not in everything


def accepted(api: Api) -> float:
    """受理了几封信。"""
    return sum(
        sample.value
        for metric in api.metrics.accepted.collect()
        for sample in metric.samples
        if sample.name == "kaguan_tasks_accepted_total" and sample.labels["type"] == "email:send"
    )


async def test_welcome_and_order_mails_count_as_accepted_tasks(api: Api) -> None:
    user = (await api.post("/users", USER)).data
    assert accepted(api) == 1
    order = (await api.post("/orders", {"order_id": "A-1", "user_id": user["id"], "amount": 1})).data
    assert accepted(api) == 2
    await api.put(f"/orders/{order['id']}", {"status": "paid"})
    assert accepted(api) == 3


async def test_what_could_not_be_committed_is_neither_done_nor_counted(api: Api, logged: list[dict[str, Any]]) -> None:
    await api.rows("create function refuse() returns trigger language plpgsql as $$ begin raise 'no commit'; end $$")
    await api.rows(
        "create constraint trigger refuse after insert on tb_user deferrable initially deferred "
        "for each row execute function refuse()"
    )
    assert (await api.post("/users", USER)).status == 500
    assert operations(logged) == {}
    assert accepted(api) == 0
    await api.rows("drop trigger refuse on tb_user")
    assert (await api.post("/users", USER)).status == 201
    assert operations(logged)["user.create"]["event"] == "业务操作完成"
