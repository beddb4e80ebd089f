from __future__ import annotations

from email import message_from_bytes, policy
from uuid import UUID

import pytest

from kaguan.database.pool import Pool
from kaguan.mail.message import message_id
from kaguan.mail.task import EmailPayload
from kaguan.outbox.work.attempt import CancelledByUserError
from kaguan.outbox.work.fence import FencedError
from kaguan.outbox.work.outcome import Discard, Done, Retry, Snooze, Uncertain
from tests.support.eventually import PATIENCE
from tests.support.folded import folded
from tests.support.mail_tasks import (
    SENDER,
    STALLED,
    advance,
    attempt_of,
    config_for,
    deliveries,
    gives_up,
    insert_running,
    is_wait,
    mail_to,
    run,
    throttled_mailer,
)
from tests.support.running_task import taken_over
from tests.support.smtp_server import DROP, STALL, Script, smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer
from workers.pauses import PAUSE

pytestmark = pytest.mark.unjudged("只考处理器：任务造出来就在跑，也没有人结算")


async def intent_is_set(pool: Pool, task_id: UUID) -> bool:
    async with pool.connection() as connection:
        cursor = await connection.execute("select intent_at is not null from vw_task where id = %s", (task_id,))
        row = await cursor.fetchone()
        assert row is not None
        return bool(row[0])


async def test_accepted_mail_is_done_with_one_receipt_per_recipient(pool: Pool) -> None:
    payload = mail_to("a@x.example", cc=("b@x.example",))
    task_id = await insert_running(pool, payload)
    async with smtp_server() as server, open_mailer(config_for(server.url)) as mailer:
        outcome = await run(mailer, attempt_of(pool, task_id, payload))
    assert isinstance(outcome, Done)
    assert outcome.result["message_id"] == f"<{task_id}@kaguan.example>"
    assert [mail.recipients for mail in server.mails] == [["a@x.example", "b@x.example"]]
    assert await deliveries(pool, task_id) == {"a@x.example": ("accepted", 250), "b@x.example": ("accepted", 250)}


async def test_running_the_same_task_again_sends_nothing(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    async with smtp_server() as server, open_mailer(config_for(server.url)) as mailer:
        await run(mailer, attempt_of(pool, task_id, payload))
        await taken_over(pool, task_id)
        again = await run(mailer, attempt_of(pool, task_id, payload, 2))
    assert isinstance(again, Done)
    assert again.result["recipients"] == [{"recipient": "a@x.example", "status": "accepted", "code": None}]
    assert len(server.mails) == 1


async def test_a_slow_server_is_waited_for_step_by_step(pool: Pool) -> None:
    payload = mail_to("a@x.example", cc=("b@x.example",))
    task_id = await insert_running(pool, payload)
    # 每一步都在时限之内，合起来远远超过它
    async with (
        smtp_server(Script(thinking=lambda _: advance(0.5 * PATIENCE))) as server,
        open_mailer(config_for(server.url, timeout=PATIENCE, data_timeout=PATIENCE)) as mailer,
    ):
        assert isinstance(await run(mailer, attempt_of(pool, task_id, payload)), Done)
    assert len(server.mails) == 1


async def test_a_server_slower_than_the_limit_is_waited_for_and_gets_no_body(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    async with smtp_server(Script(delay=0.5)) as server, open_mailer(config_for(server.url, timeout=0.1)) as mailer:
        assert is_wait(await run(mailer, attempt_of(pool, task_id, payload)))
    assert server.mails == []


async def test_5xx_for_everyone_gives_up_and_names_the_code_but_no_address(pool: Pool) -> None:
    payload = mail_to("nobody@x.example")
    task_id = await insert_running(pool, payload)
    script = Script(recipients={"nobody@x.example": ["550 5.1.1 no such user nobody@x.example"]})
    async with smtp_server(script) as server, open_mailer(config_for(server.url)) as mailer:
        outcome = await run(mailer, attempt_of(pool, task_id, payload))
    assert isinstance(outcome, Discard)
    assert "550 × 1" in str(outcome.reason)
    assert "nobody@" not in str(outcome.reason)
    assert await deliveries(pool, task_id) == {"nobody@x.example": ("refused", 550)}
    assert server.mails == []


async def test_greylisting_is_retried_and_then_accepted_byte_for_byte_the_same_id(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    script = Script(body=["451 4.7.1 greylisted"])
    async with smtp_server(script) as server, open_mailer(config_for(server.url)) as mailer:
        first = await run(mailer, attempt_of(pool, task_id, payload))
        assert isinstance(first, Retry)
        assert await deliveries(pool, task_id) == {"a@x.example": ("deferred", 451)}
        await taken_over(pool, task_id)
        second = await run(mailer, attempt_of(pool, task_id, payload, 2))
    assert isinstance(second, Done)
    (refused,), (accepted,) = server.turned_away, server.mails
    assert refused.content == accepted.content
    header = message_from_bytes(accepted.content, policy=policy.default)["Message-ID"]
    assert header == message_id(task_id, "no-reply@kaguan.example")


async def test_mixed_recipients_are_told_apart_and_only_the_deferred_one_is_tried_again(pool: Pool) -> None:
    payload = mail_to("ok@x.example", "gone@x.example", "later@x.example")
    task_id = await insert_running(pool, payload)
    script = Script(recipients={"gone@x.example": ["550 gone"], "later@x.example": ["450 later"]})
    async with smtp_server(script) as server, open_mailer(config_for(server.url)) as mailer:
        first = await run(mailer, attempt_of(pool, task_id, payload))
        assert isinstance(first, Retry)
        await taken_over(pool, task_id)
        second = await run(mailer, attempt_of(pool, task_id, payload, 2))
    assert isinstance(second, Done)
    assert [mail.recipients for mail in server.mails] == [["ok@x.example"], ["later@x.example"]]
    assert await deliveries(pool, task_id) == {
        "ok@x.example": ("accepted", 250),
        "gone@x.example": ("refused", 550),
        "later@x.example": ("accepted", 250),
    }
    assert [item["status"] for item in second.result["recipients"]] == ["accepted", "refused", "accepted"]


@folded("reply", [DROP, STALL, "999 what", "garbage"])
async def test_silence_after_the_final_dot_is_uncertain_and_a_resend_is_identical(pool: Pool, reply: str) -> None:
    payload = mail_to("a@x.example", "gone@x.example")
    task_id = await insert_running(pool, payload)
    script = Script(recipients={"gone@x.example": ["550 gone"]}, body=[reply], thinking=gives_up)
    async with smtp_server(script) as server, open_mailer(config_for(server.url, data_timeout=PATIENCE)) as mailer:
        first = await run(mailer, attempt_of(pool, task_id, payload))
        assert isinstance(first, Uncertain)
        assert await deliveries(pool, task_id) == {
            "a@x.example": ("intended", None),
            "gone@x.example": ("refused", 550),
        }
        await taken_over(pool, task_id)
        again = attempt_of(pool, task_id, payload, 2)
        again.intended = True
        second = await run(mailer, again)
    assert isinstance(second, Done)
    assert {mail.content for mail in server.mails} == {server.mails[-1].content}
    parsed = message_from_bytes(server.mails[-1].content, policy=policy.default)
    assert parsed["Message-ID"] == f"<{task_id}@kaguan.example>"


async def test_losing_the_connection_inside_the_body_is_no_doubt_because_nothing_can_have_been_accepted(
    pool: Pool,
) -> None:
    payload = mail_to("a@x.example", body="x" * 12_000_000)
    task_id = await insert_running(pool, payload)
    async with (
        smtp_server(Script(drop_in_body=True)) as server,
        open_mailer(config_for(server.url)) as mailer,
    ):
        outcome = await run(mailer, attempt_of(pool, task_id, payload))
    assert is_wait(outcome)
    assert await deliveries(pool, task_id) == {"a@x.example": ("deferred", None)}


@folded(
    "script",
    [
        Script(mail="452 full"),
        Script(recipients={"a@x.example": ["450 4.2.0 greylisted"]}),
        Script(recipients={"a@x.example": ["452 4.2.2 mailbox full"]}),
        Script(recipients={"a@x.example": ["552 too many recipients"]}),
        Script(data="451 not now"),
        Script(data="250 weird"),
        Script(body=["451 try again"]),
    ],
)
async def test_a_reply_about_the_mail_that_surely_sent_nothing_is_a_counted_retry(pool: Pool, script: Script) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    async with smtp_server(script) as server, open_mailer(config_for(server.url, timeout=PATIENCE)) as mailer:
        outcome = await run(mailer, attempt_of(pool, task_id, payload))
    assert isinstance(outcome, Retry), outcome
    assert server.mails == []
    assert (await deliveries(pool, task_id))["a@x.example"][0] == "deferred"


@folded(
    ("script", "begun"),
    [
        (Script(greeting="554 go away"), False),
        (Script(greeting="421 busy"), False),
        (Script(greeting=DROP), False),
        (Script(greeting=STALL), False),
        (Script(mail="421 closing"), True),
        (Script(mail="530 5.7.0 authentication required"), True),
        (Script(mail=DROP), True),
        (Script(mail=STALL), True),
        (Script(recipients={"a@x.example": [STALL]}), True),
        (Script(recipients={"a@x.example": ["421 closing"]}), True),
        (Script(data=DROP), True),
        (Script(data="421 closing"), True),
        (Script(body=["421 closing"]), True),
    ],
)
async def test_a_failure_that_says_nothing_about_the_mail_is_waited_out_uncounted(
    pool: Pool, script: Script, *, begun: bool
) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    script.thinking = gives_up
    timeout = STALLED if script.greeting == STALL else PATIENCE  # 还没有在等它的招呼，钟也许就拨过了
    async with smtp_server(script) as server, open_mailer(config_for(server.url, timeout=timeout)) as mailer:
        attempt = attempt_of(pool, task_id, payload)
        outcome = await run(mailer, attempt)
    assert is_wait(outcome), outcome
    assert server.mails == []
    assert attempt.declared is begun
    assert [status for status, _ in (await deliveries(pool, task_id)).values()] == ["deferred"] * begun


@folded("script", [Script(mail="550 no"), Script(data="554 no"), Script(body=["554 spam"])])
async def test_every_permanent_refusal_gives_up(pool: Pool, script: Script) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    async with smtp_server(script) as server, open_mailer(config_for(server.url)) as mailer:
        outcome = await run(mailer, attempt_of(pool, task_id, payload))
    assert isinstance(outcome, Discard)


async def test_no_server_is_waited_for_without_any_declared_intent(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    async with smtp_server() as server:
        url = server.url
    async with open_mailer(config_for(url)) as mailer:
        attempt = attempt_of(pool, task_id, payload)
        outcome = await EmailHandler(mailer, "kaguan@x.example")(attempt)
    assert is_wait(outcome)
    assert not attempt.declared
    assert not await intent_is_set(pool, task_id)


async def test_waiting_for_our_own_rate_is_no_failure_and_declares_nothing(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    attempt = attempt_of(pool, task_id, payload)
    async with throttled_mailer() as mailer:
        outcome = await EmailHandler(mailer, SENDER)(attempt)
    assert isinstance(outcome, Snooze)
    assert outcome.delay >= PAUSE
    assert not attempt.declared
    assert not await intent_is_set(pool, task_id)
    assert await deliveries(pool, task_id) == {}


async def test_the_intent_is_committed_before_the_first_mail_command(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    async with (
        smtp_server(Script(mail=STALL, thinking=gives_up)) as server,
        open_mailer(config_for(server.url, timeout=PATIENCE)) as mailer,
    ):
        await EmailHandler(mailer, "kaguan@x.example")(attempt_of(pool, task_id, payload))
        assert server.stalled.is_set()
    assert await intent_is_set(pool, task_id)
    assert await deliveries(pool, task_id) == {"a@x.example": ("intended", None)}


async def test_a_zombie_sends_nothing(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    await taken_over(pool, task_id)
    async with smtp_server() as server, open_mailer(config_for(server.url)) as mailer:
        with pytest.raises(FencedError):
            await run(mailer, attempt_of(pool, task_id, payload))
    assert server.mails == []
    assert await deliveries(pool, task_id) == {}


async def test_a_cancelled_task_stops_before_anything_is_sent(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    attempt = attempt_of(pool, task_id, payload)
    attempt.cancel_requested.set()
    async with smtp_server() as server, open_mailer(config_for(server.url)) as mailer:
        with pytest.raises(CancelledByUserError):
            await run(mailer, attempt)
    assert server.mails == []


@folded(
    "fields",
    [
        {"to": ("a@x.example, evil@x.example",)},
        {"to": ("a@x.example\r\nRCPT TO:<evil@x.example>",)},
        {"subject": "x\r\nBcc: evil@x.example"},
        {"attachments": ({"filename": "a/b", "content_type": "a/b", "content_base64": ""},)},
        {"attachments": ({"filename": "a", "content_type": "a/b", "content_base64": "!"},)},
    ],
)
async def test_a_payload_that_can_never_be_a_mail_gives_up_without_connecting(
    pool: Pool, fields: dict[str, object]
) -> None:
    stored = mail_to("a@x.example")
    payload = EmailPayload.model_validate({**stored.model_dump(mode="json"), **fields})
    attempt = attempt_of(pool, await insert_running(pool, stored), payload)
    async with smtp_server() as server, open_mailer(config_for(server.url)) as mailer:
        outcome = await EmailHandler(mailer, "kaguan@x.example")(attempt)
    assert isinstance(outcome, Discard)
    assert server.connections == 0


async def test_after_a_person_asks_again_refused_recipients_are_tried_again(pool: Pool) -> None:
    payload = mail_to("a@x.example")
    task_id = await insert_running(pool, payload)
    script = Script(recipients={"a@x.example": ["550 unknown"]})
    async with smtp_server(script) as server, open_mailer(config_for(server.url)) as mailer:
        assert isinstance(await run(mailer, attempt_of(pool, task_id, payload)), Discard)
        await taken_over(pool, task_id)
        assert isinstance(await run(mailer, attempt_of(pool, task_id, payload, 2)), Done)
    assert len(server.mails) == 1
