"""任务的结局告诉要求了的人：随任务一起受理，有了结局（不论谁给的）才推，签名、去重都与别的 webhook 一样。"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from kaguan.config import Settings, load_settings
from kaguan.mail.task import EMAIL_SEND
from kaguan.notices.task import TASK_NOTIFY
from kaguan.outbox.order.release import OrderingRelease
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.testing import Recorder, drain
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.work.outcome import Discard, Outcome, Uncertain
from kaguan.words.reasons import Reason
from tests.support.serving import Api, serving
from tests.support.webhook_receiver import SECRET, Receiver, receiving
from workers.event.notice import TaskNotify
from workers.event.webhook import open_session

MAIL = {"to": ["a@example.com"], "subject": "您好", "body": "正文"}
NOTICES = "select count(*) from vw_task where type = 'task:notify'"
WAITING = "select type from tb_outbox order by type"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
def settings(environ: dict[str, str], receiver: Receiver) -> Settings:
    hook = {"KAGUAN_WEBHOOKS__URL": receiver.url, "KAGUAN_WEBHOOKS__SECRET": SECRET.get_secret_value()}
    return load_settings({**environ, **hook})


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with serving(settings) as running:
        yield running


async def submit(api: Api, **fields: Any) -> str:
    reply = await api.post("/tasks/email", {**MAIL, "notify": True, **fields})
    assert reply.status == 202, reply.text
    return str(reply.data["task_id"])


def accepted(api: Api) -> float | None:
    """指标数到的通知。"""
    labels = {"type": "task:notify", "queue": "default"}
    return api.metrics.registry.get_sample_value("kaguan_tasks_accepted_total", labels)


async def work(api: Api, settings: Settings, *outcomes: Outcome) -> Counter[str]:
    """做完发件箱里的一切；邮件依次有这些结局，通知真的去推。"""
    async with open_session(settings.webhooks) as session:
        telling: Handler[Any] = TaskNotify(session, settings.webhooks)
        handlers: dict[TaskType[Any], Handler[Any]] = {EMAIL_SEND: Recorder([*outcomes]), TASK_NOTIFY: telling}
        return await drain(api.pool, handlers, skip_waits=True)


async def test_it_is_accepted_with_the_task_and_told_once_it_has_ended(
    api: Api, settings: Settings, receiver: Receiver
) -> None:
    task_id = await submit(api, request_id="r-1")
    assert await api.rows(NOTICES) == [(1,)]
    assert accepted(api) == 1
    assert await api.rows(WAITING) == [("email:send",)]  # 通知还没有发件箱行：任务没有结局
    assert await work(api, settings) == {"succeeded": 2}
    [told] = receiver.received
    [(finished,)] = await api.rows("select finished_at from vw_task where id = %s", task_id)
    assert told == {
        "type": "task.ended",
        "timestamp": finished.isoformat(),
        "data": {
            "v": 1,
            "task_id": task_id,
            "type": "email:send",
            "request_id": "r-1",
            "principal": "test",
            "status": "succeeded",
            "attempts": 1,
            "error_code": None,
        },
    }
    [(notice,)] = await api.rows("select id from vw_task where type = 'task:notify'")
    assert receiver.ids == [str(notice)]


async def test_who_did_not_ask_pays_nothing_and_hears_nothing(api: Api, settings: Settings, receiver: Receiver) -> None:
    await submit(api, notify=False)
    assert await api.rows("select count(*) from tb_ordering") == [(0,)]
    assert await work(api, settings) == {"succeeded": 1}
    assert receiver.received == []


@pytest.mark.unjudged("处理器没记意向就说不明")
@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (Discard(Reason("mail.refused", {"replies": []})), "failed", "mail.refused"),
        (Uncertain(Reason("outbox.cancelled_unknown")), "uncertain", "outbox.cancelled_unknown"),
    ],
)
async def test_every_end_is_told_with_its_reason(
    api: Api, settings: Settings, receiver: Receiver, outcome: Outcome, status: str, code: str
) -> None:
    await submit(api)
    await work(api, settings, outcome)
    [told] = [one["data"] for one in receiver.received]
    assert (told["status"], told["error_code"]) == (status, code)


@pytest.mark.unjudged("结局是改出来的，当作放行之前死了")
async def test_an_end_that_no_worker_gave_is_told_too(api: Api, settings: Settings, receiver: Receiver) -> None:
    cancelled, died = await submit(api), await submit(api)
    assert (await api.call("POST", f"/tasks/{cancelled}/cancel")).status == 200
    assert await api.rows(WAITING) == [("email:send",), ("task:notify",)]  # 取消的人就放行了
    # 结算了、还没放行就死了：relay 一圈圈地看
    await api.rows("update tb_task set status = 'succeeded', finished_at = now() where id = %s", died)
    await api.rows("delete from tb_outbox where task_id = %s", died)
    assert await OrderingRelease(api.pool).run_once() == 1
    await work(api, settings)
    assert {one["data"]["task_id"]: one["data"]["status"] for one in receiver.received} == {
        cancelled: "cancelled",
        died: "succeeded",
    }


async def test_a_receiver_that_was_away_gets_it_later_under_the_same_id(
    api: Api, settings: Settings, receiver: Receiver
) -> None:
    receiver.answers += [web.Response(status=503), web.Response(status=429)]
    await submit(api)
    assert await work(api, settings) == {"succeeded": 2}
    assert len(receiver.ids) == 3
    assert len(set(receiver.ids)) == 1
    assert receiver.received[0] == receiver.received[2]


async def test_a_repeated_submission_is_told_once_and_a_different_one_leaves_nothing(
    api: Api, settings: Settings, receiver: Receiver
) -> None:
    first = await submit(api, request_id="same")
    same = {**MAIL, "notify": True, "request_id": "same"}
    again = await api.call("POST", "/tasks/email", same, {"Idempotency-Key": "k"})
    assert (again.data["task_id"], again.data["replayed"]) == (first, True)
    plain = await api.post("/tasks/email", {**MAIL, "request_id": "plain"})
    for body in ({"request_id": "plain"}, {"request_id": "same", "subject": "换了"}):
        assert (await api.post("/tasks/email", {**MAIL, "notify": True, **body})).code == 1011
    assert plain.status == 202
    assert await api.rows(NOTICES) == [(1,)]
    assert await work(api, settings) == {"succeeded": 3}
    assert len(receiver.received) == 1


@pytest.mark.unjudged("结局是改出来的，当作放行之前死了")
async def test_a_task_tried_again_before_the_telling_is_told_in_its_last_state(
    api: Api, settings: Settings, receiver: Receiver
) -> None:
    task_id = await submit(api)
    await api.rows("delete from tb_outbox where task_id = %s", task_id)
    await api.rows("update tb_task set status = 'failed', finished_at = now() where id = %s", task_id)
    assert await OrderingRelease(api.pool).run_once() == 1
    assert (await api.call("POST", f"/tasks/{task_id}/retry")).status == 202
    await api.rows("update tb_outbox set available_at = now() + interval '1 minute' where task_id = %s", task_id)
    assert await work(api, settings) == {"succeeded": 2}
    assert [one["data"]["status"] for one in receiver.received] == ["succeeded"]


async def test_every_item_of_a_batch_may_ask(api: Api, settings: Settings, receiver: Receiver) -> None:
    mail = {"type": "email:send", **MAIL}
    items = [{**mail, "notify": True, "request_id": f"b{n}"} for n in range(2)]
    reply = await api.post("/tasks/batch", {"tasks": [items[0], mail, {**mail, "to": []}, items[1]]})
    assert (reply.data["accepted"], reply.data["rejected"], accepted(api)) == (3, 1, 2)
    asked = {reply.data["items"][at]["task"]["task_id"] for at in (0, 3)}
    await work(api, settings)
    assert {one["data"]["task_id"] for one in receiver.received} == asked


async def test_an_item_that_is_refused_leaves_no_notice(api: Api) -> None:
    first = await api.post("/tasks/email", {**MAIL, "request_id": "r"})
    assert first.status == 202
    mail = {"type": "email:send", **MAIL}
    reply = await api.post("/tasks/batch", {"tasks": [{**mail, "request_id": "r", "notify": True}, mail]})
    assert [item["code"] for item in reply.data["items"]] == [1011, 0]
    assert await api.rows(NOTICES) == [(0,)]


async def test_a_caller_with_its_own_address_hears_there_only(environ: dict[str, str], receiver: Receiver) -> None:
    callers = [{"name": "erp", "url": receiver.url, "secret": SECRET.get_secret_value()}]
    settings = load_settings({**environ, "KAGUAN_WEBHOOKS__CALLERS": json.dumps(callers)})
    async with serving(settings, name="erp") as api:
        await submit(api)
        await work(api, settings)
        assert [one["data"]["principal"] for one in receiver.received] == ["erp"]
    async with serving(settings, name="other") as api:
        for refused in (
            await api.post("/tasks/email", {**MAIL, "notify": True}),
            await api.post("/tasks/batch", {"tasks": [{"type": "email:send", **MAIL, "notify": True}]}),
        ):
            assert (refused.status, refused.code) == (400, 1001)
        assert await api.rows(NOTICES) == [(1,)]


@pytest.mark.parametrize("body", [{"notify": True, "ordering_key": "k"}, {"notify": "https://evil.example"}])
async def test_what_cannot_be_asked_is_refused(api: Api, body: dict[str, Any]) -> None:
    reply = await api.post("/tasks/email", {**MAIL, **body})
    assert (reply.status, reply.code) == (400, 1001)
