"""死在「对方收下」与「结果入库」之间（I3）：真的流水线、真的 SMTP，策略说了算。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EmailPayload
from kaguan.outbox.operate import decisions
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import Recorder
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Cancelled, Discard, Outcome, Retry
from tests.support.folded import folded
from tests.support.mail_stage import HOLD, RESEND, DiesBeforeSettling, Stage
from tests.support.mail_tasks import SENDER, config_for, deliveries, throttled_mailer
from tests.support.pipeline import MAX_ATTEMPTS, open_pipeline
from tests.support.places import own_port
from tests.support.said import capture_logs
from tests.support.smtp_server import DROP, smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer


@pytest.fixture
async def stage(settings: Settings, pool: Pool) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        server = await stack.enter_async_context(smtp_server())
        mailer = await stack.enter_async_context(open_mailer(config_for(server.url)))
        away = await stack.enter_async_context(open_mailer(config_for(f"smtp://127.0.0.1:{own_port()}")))
        yield Stage(pipeline, server, EmailHandler(mailer, SENDER), away)


async def test_policy_hold_leaves_the_task_uncertain_and_mails_nobody_twice(stage: Stage) -> None:
    task_id = await stage.submit()
    await stage.die_after_sending(task_id)
    await stage.redrive(resend=HOLD)
    assert await stage.pipeline.status(task_id) == "uncertain"
    assert await deliveries(stage.pipeline.pool, task_id) == {"a@x.example": ("intended", None)}
    await stage.pipeline.forwarder.run_once()
    assert len(stage.server.mails) == 1


@pytest.mark.protocol(resend=True)
async def test_policy_resend_mails_again_the_same_bytes_under_the_same_message_id(stage: Stage) -> None:
    task_id = await stage.submit()
    await stage.die_after_sending(task_id)
    await stage.redrive(resend=RESEND)
    await stage.pipeline.redis.flushdb()  # 死者的任务锁
    await stage.deliver(task_id, stage.handler)
    assert await stage.pipeline.status(task_id) == "succeeded"
    first, second = (mail.content for mail in stage.server.mails)
    assert first == second
    assert f"Message-ID: <{task_id}@kaguan.example>".encode() in first


@pytest.mark.parametrize(
    ("resend", "status"),
    [(HOLD, "uncertain"), pytest.param(RESEND, "retrying", marks=pytest.mark.protocol(resend=True))],
)
async def test_silence_after_data_follows_the_policy(stage: Stage, resend: TaskTypes, status: str) -> None:
    stage.server.script.body.append(DROP)
    task_id = await stage.submit()
    await stage.deliver(task_id, stage.handler, resend)
    assert await stage.pipeline.status(task_id) == status
    assert len(stage.server.mails) == 1


@pytest.mark.protocol(resend=True)
async def test_a_zombie_cannot_overwrite_what_the_second_attempt_recorded(stage: Stage) -> None:
    stage.server.script.body.append(DROP)
    task_id = await stage.submit()
    dying = DiesBeforeSettling(stage.handler)
    zombie = asyncio.create_task(stage.deliver(task_id, dying, RESEND))
    await dying.sent.wait()
    await stage.pipeline.sql("update tb_work set lease_until = clock_timestamp() - interval '1 s'")
    await stage.redrive(resend=RESEND)
    await stage.pipeline.redis.flushdb()
    await stage.deliver(task_id, stage.handler)
    dying.wakes.set()
    await zombie
    assert await stage.pipeline.status(task_id) == "succeeded"
    assert await deliveries(stage.pipeline.pool, task_id) == {"a@x.example": ("accepted", 250)}


# ---- 也许寄出了的，不许说没寄


async def unanswered(stage: Stage) -> UUID:
    """收下了而没有回音，按策略等着再寄。"""
    stage.server.script.body.append(DROP)
    task_id = await stage.submit()
    await stage.deliver(task_id, stage.handler, RESEND)
    assert await stage.pipeline.status(task_id) == "retrying"
    return task_id


async def again(stage: Stage, task_id: UUID, handler: Handler[Any]) -> str:
    await stage.pipeline.sql("update tb_outbox set available_at = now()")
    await stage.deliver(task_id, handler, RESEND)
    return await stage.pipeline.status(task_id)


async def still_unknown(stage: Stage, task_id: UUID) -> bool:
    [(kept,)] = await stage.pipeline.sql("select intent_at is not null from vw_task where id = %s", task_id)
    return kept and await deliveries(stage.pipeline.pool, task_id) == {"a@x.example": ("intended", None)}


@pytest.mark.protocol(resend=True)
async def test_a_cancel_asked_for_while_the_reply_is_lost_leaves_the_task_uncertain(stage: Stage) -> None:
    async def cancelled_meanwhile(attempt: Attempt[EmailPayload]) -> Outcome:
        outcome = await stage.handler(attempt)
        async with attempt.pool.connection() as connection, connection.transaction():
            await decisions.cancel(connection, attempt.task_id, "tester")
        return outcome

    stage.server.script.body.append(DROP)
    task_id = await stage.submit()
    await stage.deliver(task_id, cancelled_meanwhile, RESEND)
    assert await stage.pipeline.status(task_id) == "uncertain"
    assert await still_unknown(stage, task_id)
    assert await stage.pipeline.sql("select count(*) from tb_outbox") == [(0,)]


@pytest.mark.protocol(resend=True)
async def test_a_cancel_between_two_attempts_of_an_unknown_mail_leaves_it_uncertain_until_a_person_decides(
    stage: Stage,
) -> None:
    task_id = await unanswered(stage)
    async with stage.pipeline.pool.connection() as connection, connection.transaction():
        assert await decisions.cancel(connection, task_id, "tester") == "uncertain"
    assert await still_unknown(stage, task_id)
    assert await stage.pipeline.sql("select count(*) from tb_outbox") == [(0,)]
    async with stage.pipeline.pool.connection() as connection, connection.transaction():
        assert await decisions.cancel(connection, task_id, "tester") == "cancelled"
    assert await stage.pipeline.status(task_id) == "cancelled"


@pytest.mark.protocol(resend=True)
async def test_attempts_that_cannot_connect_do_not_make_an_unknown_mail_a_failed_one(stage: Stage) -> None:
    task_id = await unanswered(stage)
    away = EmailHandler(stage.away, SENDER)
    assert [await again(stage, task_id, away) for _ in range(2 * MAX_ATTEMPTS)] == ["retrying"] * 2 * MAX_ATTEMPTS
    assert await still_unknown(stage, task_id)
    assert (await stage.pipeline.task(task_id)).attempt == 1
    assert await again(stage, task_id, stage.handler) == "succeeded"


@pytest.mark.protocol(resend=True)
async def test_a_wait_after_a_mail_that_went_out_unanswered_is_a_new_one_and_told_again(stage: Stage) -> None:
    task_id = await stage.submit()
    away = EmailHandler(stage.away, SENDER)
    for _ in range(2):  # 一段等待只留一笔
        await again(stage, task_id, away)
    await stage.pipeline.sql("update tb_outbox set available_at = now()")
    await stage.die_after_sending(task_id)
    await stage.redrive(resend=RESEND)
    await stage.pipeline.redis.flushdb()  # 死者的任务锁
    await again(stage, task_id, away)
    told = await stage.pipeline.sql("select kind, delivery from tb_task_event order by id")
    assert told == [("interrupted", 1), ("resend", 4), ("interrupted", 4)]
    assert await again(stage, task_id, stage.handler) == "succeeded"


@pytest.mark.protocol(resend=True)
async def test_waiting_for_our_own_rate_spends_no_attempt_and_leaves_an_unknown_mail_unknown(stage: Stage) -> None:
    task_id = await unanswered(stage)
    async with throttled_mailer() as mailer:
        throttled = EmailHandler(mailer, SENDER)
        assert [await again(stage, task_id, throttled) for _ in range(MAX_ATTEMPTS)] == ["retrying"] * MAX_ATTEMPTS
    assert await still_unknown(stage, task_id)
    assert (await stage.pipeline.task(task_id)).attempt == 1
    assert await again(stage, task_id, stage.handler) == "succeeded"


@pytest.mark.protocol(resend=True)
@folded("outcome", [Discard("看不懂"), Cancelled("用户取消")])
async def test_an_unknown_mail_ends_neither_failed_nor_cancelled(stage: Stage, outcome: Outcome) -> None:
    task_id = await unanswered(stage)
    assert await again(stage, task_id, Recorder([outcome])) == "uncertain"
    assert await still_unknown(stage, task_id)


@pytest.mark.protocol(resend=True)
async def test_a_cancel_asked_for_while_an_unknown_mail_waits_to_be_retried_leaves_it_uncertain(stage: Stage) -> None:
    async def busy(attempt: Attempt[EmailPayload]) -> Outcome:
        async with attempt.pool.connection() as connection, connection.transaction():
            await decisions.cancel(connection, attempt.task_id, "tester")
        return Retry("对方忙")

    task_id = await unanswered(stage)
    assert await again(stage, task_id, busy) == "uncertain"
    assert await still_unknown(stage, task_id)


async def test_the_words_of_the_relay_are_on_the_task_without_addresses_and_not_in_the_log(stage: Stage) -> None:
    said = "550 5.1.1 <a@x.example>: User unknown；token=hunter2hunter2 via " + "y" * 400
    stage.server.script.recipients["a@x.example"] = [said]
    stage.server.script.recipients["b@x.example"] = ["554 5.7.1 spam"]
    task_id = await stage.submit("a@x.example", "b@x.example")
    with capture_logs() as lines:
        await stage.deliver(task_id, stage.handler)
    record = await stage.pipeline.task(task_id)
    assert record.last_error is not None
    reason = record.last_error["reason"]
    assert reason.startswith("全部收件人被拒收（550 × 1：5.1.1 <***>: User unknown;token=*** via yyy")
    assert reason.endswith("…，554 × 1：5.7.1 spam）")
    assert len(reason) < 250
    (logged,) = [line["reason"] for line in lines if line["event"] == "任务未完成"]
    assert logged == "全部收件人被拒收（550 × 1：…，554 × 1：…）"
    assert not [line for line in lines if "5.1.1" in str(line) or "x.example" in str(line)]


@pytest.mark.protocol(resend=True)
async def test_a_recipient_refused_after_a_lost_reply_stays_unknown_though_another_accepts(stage: Stage) -> None:
    stage.server.script.body.append(DROP)
    task_id = await stage.submit("a@x.example", "b@x.example")
    await stage.deliver(task_id, stage.handler, RESEND)
    stage.server.script.recipients["a@x.example"] = ["550 no such mailbox"]
    assert await again(stage, task_id, stage.handler) == "uncertain"
    expected = {"a@x.example": ("intended", None), "b@x.example": ("accepted", 250)}
    assert await deliveries(stage.pipeline.pool, task_id) == expected
    record = await stage.pipeline.task(task_id)
    said = {"reply": {"reason": "550"}, "count": 1, "words": "no such mailbox"}
    assert record.last_error == {
        "reason": "先前是否收下不明，再寄时被拒收（550 × 1：no such mailbox）",
        "code": "mail.refused_after_unknown",
        "parameters": {"replies": [{"code": "mail.reply_quoted", "parameters": said}]},
    }
    async with stage.pipeline.pool.connection() as connection, connection.transaction():
        await decisions.retry(connection, task_id, "tester")
    assert await again(stage, task_id, stage.handler) == "succeeded"
    assert stage.server.mails[-1].recipients == ["a@x.example"]
