from __future__ import annotations

import asyncio
import base64
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from kaguan.config import load_settings
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.testing import Recorder, drain
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.outbox.work.outcome import Retry
from kaguan.words.wrong import PATTERNS
from tests.support.eventually import PATIENCE
from tests.support.folded import folded
from tests.support.serving import Api, serving

ICCID = "8986001234567890123"
EMAIL: dict[str, Any] = {"to": ["a@example.com"], "subject": "您好", "body": "正文"}
FILE = {"filename": "a.txt", "content_type": "text/plain", "content_base64": "QUJD"}
SYNC: dict[str, Any] = {"sync_type": "usage", "start_date": "2026-01-01", "end_date": "2026-01-02"}
REFRESH = "sim:status_sync"
SIM: dict[str, Any] = {"iccids": [ICCID]}


@folded(
    ("kind", "body", "task_type", "priority"),
    [
        ("email", EMAIL, "email:send", "critical"),
        ("sync", SYNC, "data:sync", "default"),
        ("sim", SIM, "sim:status_sync", "low"),
        ("email", EMAIL, "email:send", "low"),
    ],
)
async def test_a_task_is_accepted_with_its_outbox_row_on_the_queue_of_its_priority(
    api: Api, kind: str, body: dict[str, Any], task_type: str, priority: str
) -> None:
    api.rings.clear()
    reply = await api.post(f"/tasks/{kind}", {**body, "priority": priority})
    assert reply.status == 202
    assert reply.data["queue"] == priority
    assert reply.data["status"] == "pending"
    task_id = reply.data["task_id"]
    assert reply.headers["Location"] == f"/api/v1/tasks/{task_id}"
    assert len(api.rings) == 1
    rows = await api.rows(
        "select t.type, t.queue, o.priority from vw_task t join tb_outbox o on o.task_id = t.id where t.id = %s",
        task_id,
    )
    assert rows == [(task_type, priority, ["critical", "default", "low"].index(priority))]
    shown = await api.get(f"/tasks/{task_id}")
    assert shown.data["attempts"] == 0
    assert [stage["stage"] for stage in shown.data["timeline"]] == ["accepted"]


@folded(
    ("kind", "body", "task_type"),
    [("email", EMAIL, "email:send"), ("sync", SYNC, "data:sync"), ("sim", SIM, "sim:status_sync")],
)
async def test_any_task_may_be_scheduled_alone_and_in_a_batch(
    api: Api, kind: str, body: dict[str, Any], task_type: str
) -> None:
    await api.rows("truncate tb_task, tb_outbox cascade")
    due = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
    scheduled = {**body, "schedule_at": due.isoformat()}
    alone = await api.post(f"/tasks/{kind}", scheduled)
    batch = await api.post("/tasks/batch", {"tasks": [{"type": task_type, **scheduled}, {"type": task_type, **body}]})
    task_ids = [alone.data["task_id"], *(item["task"]["task_id"] for item in batch.data["items"])]
    rows = await api.rows("select task_id::text, available_at from tb_outbox")
    waiting = [task_id for task_id, available_at in rows if available_at == due]
    assert sorted(waiting) == sorted(task_ids[:2])
    told = (await api.get(f"/tasks/{task_ids[0]}")).data["available_at"]
    assert (datetime.fromisoformat(told), told[-1]) == (due, "Z")
    late = {"type": task_type, **body, "schedule_at": "9999-01-01T00:00:00Z"}
    refused = await api.post("/tasks/batch", {"tasks": [late]})
    assert (refused.status, refused.faulty) == (400, ["tasks[0].schedule_at"])


async def test_a_task_is_tried_as_often_as_configured(environ: dict[str, str]) -> None:
    settings = load_settings({**environ, "KAGUAN_TASKS__MAX_RETRIES": "2"})
    always = Recorder([Retry("忙")] * 9)
    async with serving(settings) as api:
        assert (await api.post("/tasks/email", EMAIL)).status == 202
        ended = await drain(api.pool, {EMAIL_SEND: always}, settings.tasks, settings.worker, skip_waits=True)
    assert (ended, len(always.attempts)) == ({"failed": 1}, 3)


async def test_the_same_request_id_returns_the_first_task_and_another_body_is_refused(api: Api) -> None:
    first = await api.post("/tasks/email", {**EMAIL, "request_id": "r-1"})
    again = await api.post("/tasks/email", {**EMAIL, "request_id": "r-1"})
    other = await api.post("/tasks/email", {**EMAIL, "request_id": "r-1", "subject": "另一封"})
    assert (again.status, again.data["task_id"], again.data["replayed"]) == (202, first.data["task_id"], True)
    assert (other.status, other.code) == (422, 1011)
    assert await api.rows("select count(*) from vw_task") == [(1,)]


@folded(
    ("kind", "body", "faulty"),
    [
        ("email", {**EMAIL, "to": []}, ["to"]),
        ("email", {**EMAIL, "to": ["a@example.com,b@example.com"]}, ["to[0]"]),
        ("email", {**EMAIL, "subject": "x\r\nBcc: y@example.com"}, ["subject"]),
        ("email", {**EMAIL, "attachments": [{**FILE, "filename": "../x"}]}, ["attachments[0]"]),
        ("email", {**EMAIL, "attachments": [{**FILE, "content_base64": "!"}]}, ["attachments[0]"]),
        ("email", {**EMAIL, "attachments": [FILE] * 11}, ["attachments"]),
        ("email", {**EMAIL, "cc": ["c@example.com"] * 100}, ["cc"]),
        ("email", {**EMAIL, "schedule_at": "2026-01-01T00:00:00"}, ["schedule_at"]),
        ("email", {**EMAIL, "schedule_at": "9999-01-01T00:00:00Z"}, ["schedule_at"]),
        ("sync", {**SYNC, "schedule_at": "2026-01-01T00:00:00"}, ["schedule_at"]),
        ("sim", {**SIM, "schedule_at": "9999-01-01T00:00:00Z"}, ["schedule_at"]),
        ("email", {**EMAIL, "schedule_at": "0001-01-01T00:00:00+14:00"}, ["schedule_at"]),
        ("email", {**EMAIL, "schedule_at": "1700000000"}, ["schedule_at"]),
        ("email", {**EMAIL, "priority": "urgent"}, ["priority"]),
        ("email", {**EMAIL, "request_id": ""}, ["request_id"]),
        ("sync", {**SYNC, "start_date": "2026-01-03"}, ["end_date"]),
        ("sync", {**SYNC, "start_date": "2024-01-01"}, ["end_date"]),
        ("sync", {**SYNC, "end_date": "2999-01-01"}, ["end_date"]),
        ("sync", {**SYNC, "batch_size": True}, ["batch_size"]),
        ("sync", {**SYNC, "batch_size": 1.0}, ["batch_size"]),
        ("sync", {**SYNC, "sync_type": "all"}, ["sync_type"]),
        ("sim", {"iccids": [ICCID, ICCID, ICCID, "123"]}, ["iccids[3]"]),
        ("sim", {"iccids": []}, ["iccids"]),
        ("sim", {"iccids": [ICCID] * 1001}, ["iccids"]),
        ("sim", {**SIM, "force_sync": 1}, ["force_sync"]),
    ],
)
async def test_a_bad_task_is_refused_by_the_name_of_its_field(
    api: Api, kind: str, body: dict[str, Any], faulty: list[str]
) -> None:
    reply = await api.post(f"/tasks/{kind}", body)
    assert (reply.status, reply.code) == (400, 1001)
    assert reply.faulty == faulty
    assert await api.rows("select count(*) from vw_task") == [(0,)]


async def test_a_batch_answers_per_item_accepts_what_is_good_and_holds_a_thousand(api: Api) -> None:
    items = [
        {"type": "email:send", **EMAIL, "request_id": "b-1"},
        {"type": "sim:status_sync", "iccids": ["nonsense-nonsense-1"]},
        {"type": "email:send", **EMAIL, "request_id": "b-1"},
        {"type": "email:send", **EMAIL, "request_id": "b-1", "subject": "另一封"},
        {"type": "unknown"},
        {"type": "data:sync", **SYNC, "priority": "low"},
    ]
    reply = await api.post("/tasks/batch", {"tasks": items})
    assert reply.status == 202
    assert (reply.data["accepted"], reply.data["rejected"]) == (3, 3)
    answers = reply.data["items"]
    assert [answer["code"] for answer in answers] == [0, 1001, 0, 1011, 1001, 0]
    assert answers[1]["errors"][0]["field"] == "iccids[0]"
    assert answers[4]["errors"][0]["field"] == "type"
    assert answers[2]["task"]["task_id"] == answers[0]["task"]["task_id"]
    assert await api.rows("select count(*) from vw_task") == [(2,)]
    assert await api.rows("select count(*) from tb_outbox") == [(2,)]
    reply = await api.post(
        "/tasks/batch", {"tasks": [{"type": "sim:status_sync"}, {"type": "email:send", **EMAIL, "x": 1}, SIM]}
    )
    assert (reply.status, reply.code) == (400, 1001)
    assert reply.faulty == ["tasks[0].iccids", "tasks[1].x", "tasks[2].type"]
    item = {"type": "sim:status_sync", **SIM}
    assert (await api.post("/tasks/batch", {"tasks": [item] * 1000})).data["accepted"] == 1000
    assert (await api.post("/tasks/batch", {"tasks": [item] * 1001})).status == 400


async def test_tasks_are_listed_newest_first_in_pages_and_filtered(api: Api) -> None:
    made = [(await api.post("/tasks/sim", SIM)).data["task_id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await api.get(f"/tasks?page_size=2{cursor}")
        seen += [task["task_id"] for task in page.data["items"]]
        if page.data["next_cursor"] is None:
            break
        cursor = f"&cursor={page.data['next_cursor']}"
    assert seen == made[::-1]
    await api.post("/tasks/sync", {**SYNC, "request_id": "wanted", "priority": "low"})
    await api.post("/tasks/email", EMAIL)
    for query in ("type=data:sync", "queue=low", "request_id=wanted", "status=pending&type=data:sync"):
        page = await api.get(f"/tasks?{query}")
        assert [task["request_id"] for task in page.data["items"]] == ["wanted"]
    assert (await api.get("/tasks?since=2999-01-01T00:00:00Z")).data["items"] == []
    assert (await api.get("/tasks?until=2020-01-01T00:00:00Z")).data["items"] == []
    assert (await api.get("/tasks?since=2020-01-01T00:00:00")).faulty == ["since"]


async def test_cancel_and_retry_move_the_task_or_conflict(api: Api) -> None:
    task_id = (await api.post("/tasks/sim", SIM)).data["task_id"]
    assert (await api.post(f"/tasks/{task_id}/retry", None)).code == 1005
    rings = len(api.rings)
    cancelled = await api.post(f"/tasks/{task_id}/cancel", None)
    assert (cancelled.status, cancelled.data["status"]) == (200, "cancelled")
    assert len(api.rings) == rings + 1  # 同键的下一个也许放行了
    assert (await api.post(f"/tasks/{task_id}/cancel", None)).code == 1005
    await api.rows("update tb_task set status = 'failed' where id = %s", task_id)
    retried = await api.post(f"/tasks/{task_id}/retry", None)
    assert (retried.status, retried.data["status"]) == (202, "pending")
    timeline = (await api.get(f"/tasks/{task_id}")).data["timeline"]
    assert [stage["stage"] for stage in timeline] == ["accepted", "cancelled", "retried"]
    assert {stage["actor"] for stage in timeline[1:]} == {"test"}


async def test_what_became_of_an_uncertain_task_is_told_once(api: Api) -> None:
    task_id = (await api.post("/tasks/sim", SIM)).data["task_id"]
    known = {"outcome": "happened", "note": "ticket 7"}
    assert (await api.post(f"/tasks/{task_id}/resolve", known)).code == 1005
    await api.rows("delete from tb_outbox")
    await api.rows("update tb_task set status = 'uncertain' where id = %s", task_id)
    blank = await api.post(f"/tasks/{task_id}/resolve", {**known, "note": "  "})
    assert blank.data["errors"] == [{"field": "note", "reason": "写一句凭什么知道的"}]
    assert (await api.post(f"/tasks/{task_id}/resolve", {**known, "outcome": "perhaps"})).faulty == ["outcome"]
    rings = len(api.rings)
    resolved = await api.post(f"/tasks/{task_id}/resolve", known)
    assert (resolved.status, resolved.data) == (200, {"task_id": task_id, "status": "succeeded"})
    assert len(api.rings) == rings + 1  # 同键的下一个也许放行了
    stage = (await api.get(f"/tasks/{task_id}")).data["timeline"][1]
    assert (stage["stage"], stage["actor"], stage["outcome"], stage["note"]) == (
        "resolved", "test", "happened", "ticket 7",
    )  # fmt: skip
    assert (await api.post(f"/tasks/{uuid4()}/resolve", known)).code == 1004


async def test_tasks_are_listed_by_caller_card_recipient_error_and_several_statuses(api: Api) -> None:
    card = (await api.post("/tasks/sim", SIM)).data["task_id"]
    mail = (await api.post("/tasks/email", {"to": ["x@example.com"], "subject": "s", "body": "b"})).data["task_id"]
    failing = """update tb_task set status = 'failed', finished_at = now(), last_error = '{"reason": "no route"}'"""
    await api.rows(failing + " where id = %s", mail)
    for query, expected in (
        ("status=failed,pending", [mail, card]),
        ("status=failed", [mail]),
        ("status=succeeded,uncertain", []),
        ("caller=test", [mail, card]),
        ("caller=another", []),
        (f"iccid={SIM['iccids'][0]}", [card]),
        ("recipient=x@example.com", [mail]),
        ("error=no%20route", [mail]),
        ("error=refused", []),
    ):
        found = (await api.get(f"/tasks?{query}")).data["items"]
        assert [one["task_id"] for one in found] == expected, query
    refused = await api.get("/tasks?status=lost&ordering_key=a%20b")
    reasons = [error["reason"] for error in refused.data["errors"]]
    assert reasons == [f"应为其中一种，或用逗号隔开的几种：{'、'.join(TaskStatus)}", PATTERNS[r"^[!-~]{1,128}$"][0]]
    for query in ("status=failed,", "status=lost", "status=", "iccid=x", "caller=", "recipient=x"):
        assert (await api.get(f"/tasks?{query}")).faulty == [query.partition("=")[0]]


async def test_tasks_are_cancelled_discarded_and_retried_by_filter_first_looked_at(api: Api) -> None:
    ids = [(await api.post("/tasks/sim", SIM)).data["task_id"] for _ in range(3)]
    seen = (await api.post("/tasks/cancel", {"caller": "test", "limit": 2})).data
    assert (seen["dry_run"], seen["total"], seen["limited"], seen["counts"]) == (True, 2, True, {"pending": 2})
    assert [one["task_id"] for one in seen["matched"]] == ids[:0:-1]
    rings = len(api.rings)
    done = await api.post("/tasks/cancel", {"preview": seen["preview"], "dry_run": False})
    assert (done.data["done"], done.data["skipped"]) == (2, 0)
    assert len(api.rings) == rings + 1
    again = await api.post("/tasks/cancel", {"preview": seen["preview"], "dry_run": False})
    assert (again.data["done"], again.data["skipped"]) == (0, 2)
    await api.rows("delete from tb_outbox")
    await api.rows("update tb_task set status = 'failed', finished_at = now() where id = %s", ids[0])
    assert (await api.post("/tasks/retry", {"type": REFRESH, "dry_run": False})).data["done"] == 1
    await api.rows("update tb_task set status = 'failed', finished_at = now() where id = %s", ids[0])
    assert (await api.post("/tasks/discard", {"type": REFRESH, "dry_run": False})).data["done"] == 1
    assert (await api.get(f"/tasks/{ids[0]}")).data["status"] == "cancelled"
    told = await api.rows("select action, detail->>'caller', detail->>'done' from tb_audit order by id")
    cancelled = [("task.cancel", "test", "2"), ("task.cancel", "test", "0")]
    assert told == [*cancelled, ("task.retry", None, "1"), ("task.discard", None, "1")]
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("cancel", {"dry_run": False}),
        ("cancel", {"status": ["pending"], "dry_run": False}),
        ("cancel", {"status": ["failed"]}),
        ("discard", {"status": ["pending"]}),
        ("retry", {"preview": seen["preview"], "dry_run": False}),
        ("cancel", {"preview": seen["preview"]}),
        ("cancel", {"preview": seen["preview"], "dry_run": False, "type": REFRESH}),
        ("cancel", {"preview": None, "dry_run": False}),
    ]
    for deed, body in wrong:
        assert (await api.post(f"/tasks/{deed}", body)).code == 1001, (deed, body)


async def test_a_pause_says_what_until_when_and_why_and_is_resumed(api: Api) -> None:
    task_id = (await api.post("/tasks/sim", SIM)).data["task_id"]
    wanted = {"scope": "type", "name": "sim:status_sync", "reason": "carrier moves", "seconds": 60}
    refused: list[tuple[dict[str, Any], list[str]]] = [
        ({"scope": "all"}, ["scope"]),
        ({"reason": ""}, ["reason"]),
        ({"seconds": 0}, ["seconds"]),
        ({"seconds": 31 * 86_400}, ["seconds"]),
        ({"until": "2026-01-01T00:00:00Z"}, ["body"]),
        ({"name": "sim:unknown"}, ["body"]),
        ({"scope": "carrier"}, ["body"]),
        ({"scope": "caller", "name": "a\u0007"}, ["body"]),
    ]
    for wrong, faulty in refused:
        assert (await api.post("/pauses", {**wanted, **wrong})).faulty == faulty
    assert (await api.post("/pauses", {**wanted, "seconds": None, "until": "2020-01-01T00:00:00Z"})).faulty != []
    made = await api.post("/pauses", wanted)
    assert (made.status, made.data["actor"], made.data["waiting"]) == (201, "test", 0)
    assert (await api.get("/pauses")).data["items"] == [made.data]
    kept = {name: made.data[name] for name in ("id", "scope", "name", "reason", "until")}
    assert (await api.get(f"/tasks/{task_id}")).data["paused"] == kept
    concerns = (await api.get("/health")).data["verdict"]["concerns"]
    assert [one["level"] for one in concerns if one["code"] == "paused"] == ["ok"]
    rings = len(api.rings)
    assert (await api.delete(f"/pauses/{made.data['id']}")).data == made.data
    assert len(api.rings) == rings + 1
    assert (await api.delete(f"/pauses/{made.data['id']}")).code == 1004
    assert (await api.get("/pauses")).data["items"] == []
    assert (await api.get(f"/tasks/{task_id}")).data["paused"] is None
    told = await api.rows("select action, detail->>'reason' from tb_audit order by id")
    assert told == [("pause.create", "carrier moves"), ("pause.resume", None)]


async def test_a_waiting_task_is_changed_and_one_that_ended_is_not(api: Api) -> None:
    task_id = (await api.post("/tasks/sim", SIM)).data["task_id"]
    path = f"/tasks/{task_id}/change"
    refused: list[tuple[dict[str, Any], list[str]]] = [
        ({"priority": "low"}, ["reason"]),
        ({"reason": "r"}, ["body"]),
        ({"reason": " ", "priority": "low"}, ["reason"]),
        ({"reason": "r", "priority": "urgent"}, ["priority"]),
        ({"reason": "r", "schedule_at": "tomorrow"}, ["schedule_at"]),
    ]
    for wrong, faulty in refused:
        assert (await api.post(path, wrong)).faulty == faulty, wrong
    rings = len(api.rings)
    due = "2100-01-01T00:00:00Z"
    answer = await api.post(path, {"priority": "critical", "schedule_at": due, "reason": "customer waits"})
    assert (answer.status, answer.data, len(api.rings)) == (200, {"task_id": task_id, "status": "pending"}, rings + 1)
    assert (await api.get(f"/tasks/{task_id}")).data["queue"] == "critical"
    assert (await api.get(f"/tasks/{task_id}")).data["timeline"][-1]["note"] == "customer waits"
    await api.post(f"/tasks/{task_id}/cancel", None)
    assert (await api.post(path, {"priority": "low", "reason": "r"})).code == 1005
    told = await api.rows("select action, detail->>'reason' from tb_audit order by id limit 1")
    assert told == [("task.change", "customer waits")]


async def test_a_limit_says_how_many_until_when_and_why_and_is_cleared(api: Api) -> None:
    type_path, carrier_path = "/limits/types/event:publish", "/limits/carriers/onelink"
    wanted = {"at_once": 2, "reason": "carrier moves", "seconds": 60}
    refused: list[tuple[str, dict[str, Any], list[str]]] = [
        (type_path, {"at_once": 0}, ["at_once"]),
        (type_path, {"at_once": None}, ["at_once"]),
        (type_path, {"per_second": 5}, ["per_second"]),
        (type_path, {"reason": " "}, ["reason"]),
        (type_path, {"seconds": None}, ["body"]),
        (type_path, {"seconds": None, "until": "2020-01-01T00:00:00Z"}, ["until"]),
        ("/limits/types/sim:unknown", {}, ["type"]),
        ("/limits/carriers/sim:unknown", {}, ["carrier"]),
        (carrier_path, {"at_once": None}, ["body"]),
    ]
    for path, wrong, faulty in refused:
        assert (await api.call("PUT", path, {**wanted, **wrong})).faulty == faulty, wrong
    made = await api.call("PUT", type_path, wanted)
    assert (made.status, made.data["actor"], made.data["at_once"]) == (200, "test", 2)
    assert made.data["configured"] == {"at_once": 8, "per_second": None}
    await api.call("PUT", type_path, {**wanted, "at_once": 3})
    rate = await api.call("PUT", carrier_path, {"per_second": 5, "reason": "r", "seconds": 60})
    assert rate.data["configured"] == {"at_once": 4, "per_second": 50}
    assert [(one["name"], one["at_once"], one["per_second"]) for one in (await api.get("/limits")).data["items"]] == [
        ("event:publish", 3, None),
        ("onelink", None, 5),
    ]
    for path in (type_path, carrier_path):
        assert (await api.delete(path)).status == 200
        assert (await api.delete(path)).code == 1004
    assert (await api.get("/limits")).data["items"] == []
    told = await api.rows("select action, target, detail->>'scope' from tb_audit order by id")
    assert told == [
        ("limit.set", "event:publish", "type"),
        ("limit.set", "event:publish", "type"),
        ("limit.set", "onelink", "carrier"),
        ("limit.clear", "event:publish", "type"),
        ("limit.clear", "onelink", "carrier"),
    ]


async def test_an_absent_task_is_not_found_everywhere(api: Api) -> None:
    absent = uuid4()
    assert (await api.get(f"/tasks/{absent}")).code == 1004
    assert (await api.get(f"/tasks/{absent}/events")).code == 1004
    assert (await api.post(f"/tasks/{absent}/cancel", None)).code == 1004
    assert (await api.post(f"/tasks/{absent}/retry", None)).code == 1004
    assert (await api.get("/tasks/not-a-uuid")).faulty == ["task_id"]


async def test_vanished_tasks_are_listed_newest_first_and_are_no_task_of_that_name(api: Api) -> None:
    assert (await api.get("/tasks/vanished")).data == {"items": [], "page_size": 20, "next_cursor": None}
    older, newer = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"
    note = "insert into tb_vanished values (%s, %s, %s, %s, '2026-01-01T00:00:00Z')"
    await api.rows(note, older, "email:send", "order-17", 1)
    await api.rows(note, newer, "task:tomorrow", None, 3)
    first = await api.get("/tasks/vanished?page_size=1")
    seen = {"first_seen": "2026-01-01T00:00:00Z"}
    unnamed = {"task_id": newer, "type": "task:tomorrow", "request_id": None, "delivery": 3, **seen}
    assert first.data == {"items": [unnamed], "page_size": 1, "next_cursor": newer}
    rest = await api.get(f"/tasks/vanished?page_size=1&cursor={newer}")
    named = {"task_id": older, "type": "email:send", "request_id": "order-17", "delivery": 1, **seen}
    assert rest.data == {"items": [named], "page_size": 1, "next_cursor": None}
    assert (await api.get("/tasks/vanished?cursor=order-17")).faulty == ["cursor"]
    assert (await api.post("/tasks/vanished", {})).headers["Allow"] == "GET,HEAD"


STUCK = """
update tb_task set status = 'retrying', attempt = 1, delivery = 2, available_at = now() + interval '1 hour',
    last_error = '{"reason": "450 busy"}'
where id = %s
"""


async def test_a_task_says_where_it_stands_on_its_ordering_key_and_what_blocks_it(api: Api) -> None:
    keyed = {**EMAIL, "ordering_key": "order:42"}
    head, second, third = [(await api.post("/tasks/email", keyed)).data["task_id"] for _ in range(3)]
    other = (await api.post("/tasks/email", {**EMAIL, "ordering_key": "order:43"})).data["task_id"]
    plain = (await api.post("/tasks/email", EMAIL)).data["task_id"]
    await api.rows(STUCK, head)

    async def stands(task_id: str) -> tuple[str | None, int | None, str | None]:
        task = (await api.get(f"/tasks/{task_id}")).data
        return task["ordering_key"], task["position"], (task["blocked_by"] or {}).get("task_id")

    assert [await stands(task_id) for task_id in (head, second, third, other, plain)] == [
        ("order:42", 1, None),
        ("order:42", 2, head),
        ("order:42", 3, head),
        ("order:43", 1, None),
        (None, None, None),
    ]
    blocker = (await api.get(f"/tasks/{third}")).data["blocked_by"]
    assert (blocker["status"], blocker["attempts"], blocker["error"]) == ("retrying", 1, {"reason": "450 busy"})
    assert datetime.fromisoformat(blocker["available_at"]) > datetime.now(UTC) + timedelta(minutes=50)
    listed = (await api.get("/tasks?ordering_key=order:42")).data["items"]
    assert [(item["task_id"], item["ordering_key"]) for item in listed] == [
        (task_id, "order:42") for task_id in (third, second, head)
    ]
    assert (await api.get("/tasks?ordering_key=order:42&status=retrying")).data["items"] == [
        item for item in listed if item["task_id"] == head
    ]
    # 队头有了结局、还没放行：没有谁挡着，轮到第二个
    await api.rows("update tb_task set status = 'failed', finished_at = now() where id = %s", head)
    assert [await stands(task_id) for task_id in (head, second, third)] == [
        ("order:42", None, None),
        ("order:42", 1, None),
        ("order:42", 2, None),
    ]
    # 人工重来的不等谁；它没做完，第三个还在它后面
    await api.post(f"/tasks/{head}/retry", None)
    await api.rows("update tb_ordering set head = %s where key = 'order:42'", second)
    assert [await stands(task_id) for task_id in (head, third)] == [("order:42", None, None), ("order:42", 3, second)]


async def test_replay_is_a_dry_run_unless_told_otherwise(api: Api) -> None:
    ids = [(await api.post("/tasks/sim", SIM)).data["task_id"] for _ in range(3)]
    await api.rows("update tb_task set status = 'failed', finished_at = now()")
    dry = await api.post("/tasks/replay", {})
    assert dry.data["dry_run"] is True
    assert sorted(task["task_id"] for task in dry.data["matched"]) == sorted(ids)
    assert (dry.data["total"], dry.data["limited"]) == (3, False)
    assert await api.rows("select distinct status from vw_task") == [("failed",)]
    done = await api.post("/tasks/replay", {"dry_run": False, "limit": 2, "rate": 1})
    assert done.data["replayed"] == 2
    assert await api.rows("select count(*) from vw_task where status = 'pending'") == [(2,)]


async def test_a_dry_run_counts_beyond_what_it_lists_and_says_when_the_limit_cuts(api: Api) -> None:
    items = [{"type": "sim:status_sync", **SIM}] * 30
    await api.post("/tasks/batch", {"tasks": items})
    await api.rows("update tb_task set status = 'failed', finished_at = now()")
    for limit, total, limited, listed in (
        (100, 30, False, 20),
        (30, 30, False, 20),
        (29, 29, True, 20),
        (2, 2, True, 2),
    ):
        dry = await api.post("/tasks/replay", {"limit": limit})
        assert (dry.data["total"], dry.data["limited"], len(dry.data["matched"])) == (total, limited, listed)


async def test_a_run_of_a_preview_replays_only_what_the_dry_run_showed(api: Api) -> None:
    ids = sorted([(await api.post("/tasks/sim", SIM)).data["task_id"] for _ in range(3)])
    await api.rows("update tb_task set status = 'failed', finished_at = now(), last_error = '{\"reason\": \"连不上\"}'")
    dry = (await api.post("/tasks/replay", {"reason": "连不上", "limit": 2, "rate": 5})).data
    assert (dry["total"], dry["limited"], dry["matching"]) == (2, True, 3)
    await api.post(f"/tasks/{ids[0]}/retry", None)
    await api.rows("update tb_task set status = 'failed', finished_at = now() where id = %s", ids[0])
    done = (await api.post("/tasks/replay", {"preview": dry["preview"], "dry_run": False})).data
    assert (done["dry_run"], done["replayed"], done["skipped"]) == (False, 1, 1)
    assert await api.rows("select id::text from vw_task where status = 'pending'") == [(ids[1],)]
    [(detail,)] = await api.rows("select detail from tb_audit where action = 'task.replay'")
    assert (detail["count"], detail["skipped"], detail["reason"], detail["rate"]) == (1, 1, "连不上", 5.0)
    once_more = (await api.post("/tasks/replay", {"preview": dry["preview"], "dry_run": False})).data
    assert (once_more["replayed"], once_more["skipped"]) == (0, 2)


async def test_a_preview_takes_no_criteria_beside_it_and_cannot_be_made_up(api: Api) -> None:
    await api.post("/tasks/sim", SIM)
    await api.rows("update tb_task set status = 'failed', finished_at = now()")
    preview = (await api.post("/tasks/replay", {})).data["preview"]
    for body in (
        {"preview": preview},
        {"preview": None, "dry_run": False},
        {"preview": preview, "dry_run": False, "rate": 5},
        {"preview": preview, "dry_run": False, "type": "email:send"},
    ):
        assert (await api.post("/tasks/replay", body)).code == 1001
    head = b'{"status": "%s", "rate": %s}\n' + bytes(20)
    for made_up in (
        "x",
        preview[:-8],
        base64.urlsafe_b64encode(zlib.compress(bytes(10_000_000))).decode(),
        base64.urlsafe_b64encode(zlib.compress(head % (b"succeeded", b"5"))).decode(),
        base64.urlsafe_b64encode(zlib.compress(head % (b"failed", b"0"))).decode(),
        base64.urlsafe_b64encode(zlib.compress(head % (b"failed", b"5") + b"odd")).decode(),
    ):
        reply = await api.post("/tasks/replay", {"preview": made_up, "dry_run": False})
        assert (reply.status, reply.faulty) == (400, ["preview"])
    well_formed = base64.urlsafe_b64encode(zlib.compress(head % (b"failed", b"5"))).decode()
    done = (await api.post("/tasks/replay", {"preview": well_formed, "dry_run": False})).data
    assert (done["replayed"], done["skipped"]) == (0, 1)
    assert await api.rows("select status from vw_task") == [("failed",)]


async def test_a_replay_may_name_the_queue_and_the_error(api: Api) -> None:
    low = (await api.post("/tasks/sim", {**SIM, "priority": "low"})).data["task_id"]
    (await api.post("/tasks/sim", SIM)).data["task_id"]
    await api.rows(
        "update tb_task set status = 'failed', finished_at = now(), last_error = '{\"reason\": \"连不上：100%_x\"}'"
    )
    for wanted, total in (
        ({"queue": "low"}, 1),
        ({"error": "100%_"}, 2),
        ({"error": "100_"}, 0),
        ({"error": "拒收"}, 0),
    ):
        dry = await api.post("/tasks/replay", wanted)
        assert dry.data["total"] == total
    done = await api.post("/tasks/replay", {"queue": "low", "error": "连不上", "dry_run": False})
    assert done.data["replayed"] == 1
    assert await api.rows("select id::text from vw_task where status = 'pending'") == [(low,)]
    assert await api.rows("select detail->>'queue', detail->>'error' from tb_audit") == [("low", "连不上")]


async def test_events_stream_every_change_until_the_task_is_finished(api: Api) -> None:
    task_id = (await api.post("/tasks/sim", SIM)).data["task_id"]
    headers = {"Authorization": f"Bearer {api.token}"}
    statuses: list[str] = []
    async with asyncio.timeout(PATIENCE), api.session.get(f"/api/v1/tasks/{task_id}/events", headers=headers) as stream:
        assert stream.status == 200
        assert stream.content_type == "text/event-stream"
        assert "X-Request-ID" in stream.headers
        async for line in stream.content:
            if line.startswith(b"data: "):
                statuses.append(json.loads(line[6:])["status"])
                if statuses == ["pending"]:
                    await api.post(f"/tasks/{task_id}/cancel", None)
    assert statuses == ["pending", "cancelled"]


async def test_many_submissions_at_once_all_land(api: Api) -> None:
    replies = await asyncio.gather(*(api.post("/tasks/sim", SIM) for _ in range(100)))
    assert {reply.status for reply in replies} == {202}
    assert len({UUID(reply.data["task_id"]) for reply in replies}) == 100
    assert await api.rows("select count(*) from tb_outbox") == [(100,)]


async def test_a_task_of_a_type_that_only_a_newer_version_knows_is_shown(api: Api) -> None:
    """滚动升级、退回一版之后，库里躺着不认得的类型：一行不该让整页读不出来。"""
    accepted = await api.post("/tasks/email", {**EMAIL, "ordering_key": "k"})
    behind = await api.post("/tasks/email", {**EMAIL, "ordering_key": "k"})
    task_id = accepted.data["task_id"]
    await api.rows("update tb_task set type = 'task:tomorrow' where id = %s returning id", task_id)
    listed = await api.get("/tasks")
    assert {item["type"] for item in listed.data["items"]} == {"task:tomorrow", "email:send"}
    assert (await api.get(f"/tasks/{task_id}")).data["type"] == "task:tomorrow"
    assert (await api.get(f"/tasks/{behind.data['task_id']}")).data["blocked_by"]["type"] == "task:tomorrow"
    assert (await api.post(f"/tasks/{task_id}/cancel", None)).data["status"] == "cancelled"
