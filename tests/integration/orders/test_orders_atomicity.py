"""I4：建单连带建用户，任何一步失败就什么都没有。"""

from __future__ import annotations

from typing import Any

from tests.support.folded import folded
from tests.support.said import capture_logs
from tests.support.serving import Api

USER: dict[str, Any] = {"username": "zhang.san", "email": "zhang@example.com", "password": "correct horse"}
ORDER: dict[str, Any] = {"order_id": "A-1", "user": USER, "amount": 1999}
TABLES = ("tb_user", "tb_order", "tb_task", "tb_outbox", "tb_idempotency_key")
EMPTY = f"truncate {', '.join(TABLES)} cascade"

# 第 nth 次往表里写的时候失败：逐条语句地失败
FAIL_AT = """
create or replace function fail_here() returns trigger language plpgsql as $$
begin
    if (select count(*) from {table}) >= {before} then
        raise exception 'forced failure';
    end if;
    return new;
end $$;
create trigger fail_here before insert on {table} for each row execute function fail_here();
"""
# 全部语句都成功，提交时才失败
FAIL_AT_COMMIT = """
create or replace function fail_here() returns trigger language plpgsql as $$
begin raise exception 'forced failure'; end $$;
create constraint trigger fail_here after insert on {table} deferrable initially deferred
for each row execute function fail_here();
"""
STEPS = [
    (FAIL_AT.format(table=table, before=nth - 1), table)
    for table, nth in (
        ("tb_user", 1),
        ("tb_order", 1),
        ("tb_task", 1),
        ("tb_task", 2),
        ("tb_outbox", 1),
        ("tb_outbox", 2),
    )
] + [(FAIL_AT_COMMIT.format(table=table), table) for table in ("tb_user", "tb_outbox")]


async def counts(api: Api) -> dict[str, int]:
    return {table: (await api.rows(f"select count(*) from {table}"))[0][0] for table in TABLES}


@folded(
    ("trigger", "table", "headers"),
    [(*step, headers) for step in STEPS for headers in ({}, {"Idempotency-Key": "once"})],
)
async def test_a_failure_at_any_statement_leaves_no_row_anywhere(
    api: Api, trigger: str, table: str, headers: dict[str, str]
) -> None:
    await api.rows(EMPTY)
    api.rings.clear()
    await api.script(trigger)
    failed = await api.call("POST", "/orders", ORDER, headers)
    assert (failed.status, failed.code) == (500, 2001)
    assert "forced failure" not in failed.text
    assert await counts(api) == dict.fromkeys(TABLES, 0)
    assert api.rings == []
    await api.rows(f"drop trigger fail_here on {table}")
    assert (await api.call("POST", "/orders", ORDER, headers)).status == 201
    assert await counts(api) == {
        "tb_user": 1,
        "tb_order": 1,
        "tb_task": 2,
        "tb_outbox": 2,
        "tb_idempotency_key": len(headers),
    }


MAIL: dict[str, Any] = {"to": ["a@example.com"], "subject": "您好", "body": "正文"}


@folded(
    ("path", "body", "headers", "told"),
    [
        ("/orders", ORDER, {}, 2),
        ("/tasks/email", MAIL, {"Idempotency-Key": "once"}, 1),
        ("/tasks/batch", {"tasks": [{"type": "email:send", **MAIL}]}, {}, 1),
    ],
)
async def test_a_task_is_told_of_only_once_it_is_committed(
    api: Api, path: str, body: dict[str, Any], headers: dict[str, str], told: int
) -> None:
    await api.rows(EMPTY)
    await api.script(FAIL_AT_COMMIT.format(table="tb_outbox"))
    with capture_logs() as lines:
        assert (await api.call("POST", path, body, headers)).status == 500
        assert [line for line in lines if line["event"] == "受理任务"] == []
        await api.rows("drop trigger fail_here on tb_outbox")
        assert (await api.call("POST", path, body, headers)).status in {201, 202}
    assert sum(line["count"] for line in lines if line["event"] == "受理任务") == told


async def test_a_taken_order_number_takes_the_new_user_back_too(api: Api) -> None:
    first = await api.post("/orders", ORDER)
    assert first.status == 201
    before = await counts(api)
    other = {"username": "li.si", "email": "li@example.com", "password": "correct horse"}
    refused = await api.post("/orders", {**ORDER, "user": other})
    assert (refused.status, refused.faulty) == (409, ["order_id"])
    assert await counts(api) == before
    assert (await api.post("/users", other)).status == 201


async def test_a_taken_username_leaves_no_order(api: Api) -> None:
    await api.post("/users", USER)
    before = await counts(api)
    refused = await api.post("/orders", {**ORDER, "user": {**USER, "email": "else@example.com"}})
    assert (refused.status, refused.faulty) == (409, ["username"])
    assert await counts(api) == before


async def test_a_failing_mail_takes_the_status_change_back(api: Api) -> None:
    order = await api.post("/orders", ORDER)
    path = f"/orders/{order.data['id']}"
    await api.script(FAIL_AT.format(table="tb_outbox", before=2))
    assert (await api.put(path, {"status": "paid"})).status == 500
    kept = await api.get(path)
    assert (kept.data["status"], kept.data["version"]) == ("pending", 1)
