"""改与删用户、订单、卡，登记卡：各留一行，与改动同一事务；留的是改了什么，不是改成了什么。"""

from __future__ import annotations

from typing import Any

import pytest

from kaguan.sims.iccid import with_check_digit
from tests.support.console import signed_in
from tests.support.said import capture_logs
from tests.support.serving import Api

USER = {"username": "zhang.san", "email": "zhang@example.com", "password": "correct horse"}
ICCID = with_check_digit(f"898600{1:013d}")
CARDS = {"sims": [{"iccid": ICCID, "carrier": "onelink"}, {"iccid": "no card", "carrier": "onelink"}]}
ROWS = "select actor, action, target, detail, outcome from tb_audit order by id"
NO_AUDIT = """
create function no_audit() returns trigger language plpgsql as $$ begin raise exception 'no audit'; end $$;
create trigger no_audit before insert on tb_audit for each row execute function no_audit();
"""
NO_COMMIT = """
create function no_commit() returns trigger language plpgsql as $$ begin raise exception 'no commit'; end $$;
create constraint trigger no_commit after insert on tb_audit deferrable initially deferred
for each row execute function no_commit();
"""
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}


async def test_a_change_leaves_one_line_that_names_the_fields_and_holds_no_value(api: Api) -> None:
    user, order = await a_user_and_an_order(api)
    await api.post("/sims", CARDS)
    await api.post("/sims", CARDS)  # 一张也没登记上：没有改动
    await api.put(f"/users/{user}", {"password": "battery staple", "email": "secret@example.com"})
    await api.put(f"/users/{user}", {"status": "no such status"})
    await api.put(f"/orders/{order}", {"status": "paid", "remark": "secret"})
    await api.put(f"/sims/{ICCID}F", {"msisdn": "1064700000001"}, {"X-Request-ID": "who-asked"})
    for path in (f"/orders/{order}", f"/users/{user}", f"/sims/{ICCID}F"):
        assert (await api.delete(path)).status == 200
        assert (await api.delete(path)).status == 404

    def line(action: str, target: object, **detail: object) -> tuple[Any, ...]:
        return "test", action, None if target is None else str(target), {**detail, "via": "api"}, "ok"

    assert await api.rows(ROWS) == [
        line("sim.register", None, count=1),
        line("user.update", user, fields=["email", "password"], version=2),
        line("order.update", order, fields=["remark", "status"], version=2),
        line("sim.update", ICCID, fields=["msisdn"], version=2),
        line("order.delete", order),
        line("user.delete", user),
        line("sim.delete", ICCID),
    ]
    assert await api.rows("select request_id from tb_audit where action = 'sim.update'") == [("who-asked",)]


async def test_a_change_whose_line_cannot_be_written_does_not_happen(api: Api) -> None:
    user, order = await a_user_and_an_order(api)
    await api.post("/sims", CARDS)
    await api.script(NO_AUDIT)
    changes = {f"/users/{user}": "status", f"/orders/{order}": "remark", f"/sims/{ICCID}": "remark"}
    for path, field in changes.items():
        assert (await api.put(path, {field: "banned"})).status == 500
        assert (await api.delete(path)).status == 500
        assert (await api.get(path)).data["version"] == 1
    other = with_check_digit(f"898600{2:013d}")
    assert (await api.post("/sims", {"sims": [{"iccid": other, "carrier": "onelink"}]})).status == 500
    assert (await api.get(f"/sims/{other}")).status == 404


async def test_a_cancel_that_could_not_be_committed_is_not_told(api: Api) -> None:
    task_ids = [(await api.post("/tasks/email", MAIL)).data["task_id"] for _ in range(2)]
    async with signed_in(api) as visitor:

        async def cancel_both() -> tuple[list[int], list[str]]:
            """经 API、经控制台各取消一个：（状态码，取消与留痕的日志）。"""
            with capture_logs() as logged:
                by_api = await api.post(f"/tasks/{task_ids[0]}/cancel", None)
                by_console = await visitor.act(f"/console/tasks/{task_ids[1]}/cancel")
            told = [entry["event"] for entry in logged if entry["event"] in {"取消任务", "操作留痕"}]
            return [by_api.status, by_console.status], told

        await api.script(NO_COMMIT)
        assert await cancel_both() == ([500, 500], [])
        await api.rows("drop trigger no_commit on tb_audit")
        assert await cancel_both() == ([200, 303], ["取消任务", "操作留痕"] * 2)


@pytest.mark.parametrize(("language", "told"), [("zh", "改用户"), ("en", "change user")])
async def test_the_console_tells_of_it_in_both_languages(api: Api, language: str, told: str) -> None:
    user, _ = await a_user_and_an_order(api)
    await api.put(f"/users/{user}", {"status": "banned"})
    async with signed_in(api) as visitor:
        page = await visitor.get("/console/audit?action=user.update", {"Accept-Language": language})
    assert page.text.count("<tr data-action=") == page.text.count('<tr data-action="user.update"') == 1
    assert f'<td class="nowrap">{told}</td>' in page.text


async def test_who_created_a_user_or_an_order_is_on_its_mail(api: Api) -> None:
    await a_user_and_an_order(api)
    assert await api.rows("select distinct principal from vw_task") == [("test",)]
    assert await api.rows("select count(*) from tb_audit") == [(0,)]


async def a_user_and_an_order(api: Api) -> tuple[int, int]:
    created = (await api.post("/orders", {"user": USER, "amount": 1})).data
    return created["user_id"], created["id"]
