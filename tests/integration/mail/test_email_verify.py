"""结局不明先查证（I3）：真的流水线、真的 SMTP，查证走 HTTP 问收件端按 Message-ID 的索引。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kaguan.config import Settings
from kaguan.config.model import Smtp
from kaguan.database.pool import Pool
from kaguan.outbox.operate import decisions
from kaguan.outbox.work.verification import Verified
from kaguan.product.task_types import task_types
from tests.support.folded import folded
from tests.support.mail_stage import Stage
from tests.support.mail_tasks import SENDER, config_for, deliveries, throttled_mailer
from tests.support.pipeline import MAX_ATTEMPTS, open_pipeline
from tests.support.places import own_port
from tests.support.smtp_server import DROP, STALL, SmtpServer, smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import Mailer, open_mailer
from workers.email.verifying import EmailVerify, open_lookup

pytestmark = pytest.mark.protocol(resend=True, verify=True)
VERIFY = task_types(Smtp(verify_url="https://mail.example/messages/{message_id}"))  # 策略是默认的 hold


@dataclass
class Index:
    """收件端的投递日志：按 Message-ID 答为谁收下过。``broken`` 非空即一律答它。"""

    server: SmtpServer
    broken: int | None = None
    piecemeal: bool = False  # 应答分两段到
    names: bool = True  # 点出收件人
    also: tuple[str, ...] = ()  # 还点了谁
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        message_id = request.match_info["message_id"]
        self.asked.append(message_id)
        if self.broken is not None:
            return web.Response(status=self.broken)
        header = f"Message-ID: <{message_id}>".encode()
        known = [mail.recipients for mail in self.server.mails if header in mail.content]
        if not known:
            raise web.HTTPNotFound
        if self.piecemeal:
            return await in_two_pieces(request)
        recipients = [one for mail in known for one in mail] + list(self.also)
        return web.json_response({"accepted": True, **({"recipients": recipients} if self.names else {})})


async def in_two_pieces(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"accepted"')
    for _ in range(100):
        await asyncio.sleep(0)  # 同一个事件循环：问的一方已经读到前一段
    await response.write(b": true}")
    return response


@dataclass
class Asking(Stage):
    """会查证的处理器：死过一次之后再投递，直到有结局。"""

    index: Index
    verifying: EmailVerify
    mailer: Mailer

    async def again(self, task_id: UUID, *, resend: bool = False) -> str:
        await self.pipeline.redis.flushdb()  # 死者的任务锁
        await self.pipeline.sql("update tb_outbox set available_at = now()")
        await self.deliver(task_id, Verified(self.handler, self.verifying, resend=resend), VERIFY)
        return await self.pipeline.status(task_id)

    async def kinds(self, task_id: UUID) -> list[str]:
        rows = await self.pipeline.sql("select kind from tb_task_event where task_id = %s order by id", task_id)
        return [row[0] for row in rows]

    async def answers(self, task_id: UUID) -> list[str]:
        statement = "select detail->>'answer' from tb_task_event where task_id = %s and kind = 'verified' order by id"
        return [row[0] for row in await self.pipeline.sql(statement, task_id)]


@pytest.fixture
async def stage(settings: Settings, pool: Pool) -> AsyncIterator[Asking]:
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        server = await stack.enter_async_context(smtp_server())
        mailer = await stack.enter_async_context(open_mailer(config_for(server.url)))
        away = await stack.enter_async_context(open_mailer(config_for(f"smtp://127.0.0.1:{own_port()}")))
        index = Index(server)
        app = web.Application()
        app.router.add_get("/messages/{message_id}", index.answer)
        http = await stack.enter_async_context(TestServer(app))
        url = f"http://127.0.0.1:{http.port}/messages/{{message_id}}"
        lookup = await stack.enter_async_context(open_lookup(url, 5.0))
        yield Asking(pipeline, server, EmailHandler(mailer, SENDER), away, index, EmailVerify(lookup, SENDER), mailer)


async def died(stage: Asking) -> UUID:
    """寄出之后、结算之前死去，租约到期，重新投递。"""
    task_id = await stage.submit()
    await stage.die_after_sending(task_id)
    await stage.redrive(resend=VERIFY)
    return task_id


async def greylisted(stage: Asking, reply: str = "450 4.7.1 greylisted") -> UUID:
    """一次会话两个收件人：a 收下，b 得到 ``reply``；点之后、结算之前死去，重新投递。"""
    stage.server.script.recipients["b@x.example"] = [reply]
    task_id = await stage.submit("a@x.example", "b@x.example")
    await stage.die_after_sending(task_id)
    await stage.redrive(resend=VERIFY)
    return task_id


async def decided(stage: Asking) -> UUID:
    """问不出来，次数用尽，有人让它重来。"""
    task_id = await died(stage)
    stage.index.broken = 503
    for _ in range(MAX_ATTEMPTS):
        await stage.again(task_id)
    async with stage.pipeline.pool.connection() as connection, connection.transaction():
        await decisions.retry(connection, task_id, "operator")
    return task_id


async def test_a_mail_the_relay_host_knows_is_settled_without_sending_again(stage: Asking) -> None:
    task_id = await died(stage)
    assert await stage.again(task_id) == "succeeded"
    assert len(stage.server.mails) == 1
    assert stage.index.asked == [f"{task_id}@kaguan.example"]
    assert await deliveries(stage.pipeline.pool, task_id) == {"a@x.example": ("accepted", None)}
    assert (await stage.pipeline.task(task_id)).result == {
        "message_id": f"<{task_id}@kaguan.example>",
        "recipients": [{"recipient": "a@x.example", "status": "accepted", "code": None}],
        "verified": True,
    }
    assert await stage.answers(task_id) == ["happened"]


async def test_a_mail_whose_records_were_lost_is_asked_for_by_the_id_it_must_have_had(stage: Asking) -> None:
    """PostgreSQL 丢了尾巴，意向是核对时补上的，逐收件人的记录没有了；应答分两段到，也读得全。"""
    task_id = await died(stage)
    stage.index.piecemeal = True
    await stage.pipeline.sql("delete from tb_email_delivery")
    assert await stage.again(task_id) == "succeeded"
    assert len(stage.server.mails) == 1
    assert stage.index.asked == [f"{task_id}@kaguan.example"]
    assert await stage.answers(task_id) == ["happened"]


async def test_a_mail_the_relay_host_never_saw_is_sent(stage: Asking) -> None:
    task_id = await died(stage)
    stage.server.mails.clear()
    assert await stage.again(task_id) == "succeeded"
    assert len(stage.server.mails) == 1
    assert await stage.answers(task_id) == ["not_happened"]


async def test_without_an_answer_policy_hold_asks_again_until_the_attempts_end_and_then_waits(stage: Asking) -> None:
    task_id = await died(stage)
    for attempt in range(MAX_ATTEMPTS - 1):
        stage.index.broken = (503, 302, 200)[attempt % 3]  # 200 而正文不是约定的样子
        assert await stage.again(task_id) == "retrying", stage.index.broken
    assert await stage.again(task_id) == "uncertain"
    assert len(stage.index.asked) == MAX_ATTEMPTS
    assert len(stage.server.mails) == 1
    asked_again = ["to_verify", "verified"] * MAX_ATTEMPTS
    assert await stage.kinds(task_id) == [*asked_again, "uncertain"]  # 一封也没有再寄，时间线上就没有「重发」


async def test_an_answer_that_comes_late_still_counts(stage: Asking) -> None:
    task_id = await died(stage)
    stage.index.broken = 503
    assert await stage.again(task_id) == "retrying"
    stage.index.broken = None
    assert await stage.again(task_id) == "succeeded"
    assert len(stage.server.mails) == 1
    assert await stage.answers(task_id) == ["unknown", "happened"]


@folded(("broken", "error"), [(503, "503"), (None, None)])
async def test_asking_is_a_span_of_the_attempt_that_fails_when_there_is_no_answer(
    stage: Asking, exported: InMemorySpanExporter, broken: int | None, error: str | None
) -> None:
    task_id = await died(stage)
    stage.index.broken = broken
    stage.server.mails.clear()  # 404：没有收到过，是答复
    exported.clear()
    await stage.again(task_id)
    (span,) = [span for span in exported.get_finished_spans() if span.name == "smtp verify"]
    attributes = dict(span.attributes or {})
    assert (attributes["http.response.status_code"], attributes.get("error.type")) == (broken or 404, error)
    assert attributes["server.address"] == "127.0.0.1"


async def test_without_an_answer_policy_resend_sends_the_same_message_again(stage: Asking) -> None:
    task_id = await died(stage)
    stage.index.broken = 503
    assert await stage.again(task_id, resend=True) == "succeeded"
    first, second = (mail.content for mail in stage.server.mails)
    assert first == second


async def test_one_decision_of_a_person_allows_one_more_mail_and_no_second(stage: Asking) -> None:
    task_id = await decided(stage)
    stage.server.script.body += [DROP] * MAX_ATTEMPTS  # 收下了，回音丢了
    statuses = [await stage.again(task_id) for _ in range(MAX_ATTEMPTS)]
    assert statuses == ["retrying"] * (MAX_ATTEMPTS - 1) + ["uncertain"]
    assert len(stage.server.mails) == 2


async def test_a_decision_of_a_person_is_not_used_up_by_waiting_for_our_own_rate(stage: Asking) -> None:
    """中继说不清的，人可以决定；等我们自己的限额，不耗掉他的决定。"""
    task_id = await decided(stage)
    async with throttled_mailer() as mailer:
        throttled = Verified(EmailHandler(mailer, SENDER), stage.verifying, resend=False)
        await stage.pipeline.redis.flushdb()
        await stage.deliver(task_id, throttled, VERIFY)
    assert await stage.pipeline.status(task_id) == "retrying"
    assert await stage.again(task_id) == "succeeded"
    assert len(stage.server.mails) == 2


async def test_a_mail_verified_after_an_attempt_that_could_not_connect_is_not_sent_again(stage: Asking) -> None:
    task_id = await died(stage)
    stage.index.broken = 503
    away = Verified(EmailHandler(stage.away, SENDER), stage.verifying, resend=True)
    await stage.pipeline.redis.flushdb()
    await stage.deliver(task_id, away, VERIFY)
    assert await stage.pipeline.status(task_id) == "retrying"
    stage.index.broken = None
    assert await stage.again(task_id, resend=True) == "succeeded"
    assert len(stage.server.mails) == 1


async def test_recipients_still_waiting_are_mailed_after_the_others_are_verified(stage: Asking) -> None:
    task_id = await died(stage)
    await stage.pipeline.sql(
        "insert into tb_email_delivery (task_id, recipient, status, message_id, attempt, settled_at)"
        " values (%s, 'late@x.example', 'deferred', %s, 1, now())",
        task_id,
        f"<{task_id}@kaguan.example>",
    )
    payload = """update tb_task set payload = jsonb_set(payload, '{to}', '["a@x.example", "late@x.example"]')"""
    await stage.pipeline.sql(payload)
    assert await stage.again(task_id) == "succeeded"
    assert [mail.recipients for mail in stage.server.mails] == [["a@x.example"], ["late@x.example"]]


async def test_a_mail_in_doubt_that_waits_for_the_relay_host_keeps_its_doubt_and_is_noted_once(stage: Asking) -> None:
    task_id = await died(stage)
    stage.index.broken = 503
    stage.handler, back = EmailHandler(stage.away, SENDER), stage.handler
    for _ in range(2 * MAX_ATTEMPTS):
        assert await stage.again(task_id, resend=True) == "retrying"
    [(doubt, attempt)] = await stage.pipeline.sql("select intent_at is not null, attempt from vw_task")
    assert (doubt, attempt) == (True, 0)
    assert await deliveries(stage.pipeline.pool, task_id) == {"a@x.example": ("intended", None)}
    assert await stage.answers(task_id) == ["unknown"]
    assert (await stage.kinds(task_id)).count("interrupted") == 1
    stage.handler = back
    assert await stage.again(task_id, resend=True) == "succeeded"


def received(stage: Asking) -> list[str]:
    return [one for mail in stage.server.mails for one in mail.recipients]


async def test_only_the_recipients_that_the_answer_names_are_settled_and_the_others_are_mailed(stage: Asking) -> None:
    """死在点之后：a 收下了，b 被推迟；答复只点了 a。"""
    task_id = await greylisted(stage)
    assert await stage.again(task_id) == "succeeded"
    assert received(stage) == ["a@x.example", "b@x.example"]
    assert await stage.answers(task_id) == ["not_happened"]
    assert {one: found[0] for one, found in (await deliveries(stage.pipeline.pool, task_id)).items()} == dict.fromkeys(
        ("a@x.example", "b@x.example"), "accepted"
    )


async def test_a_recipient_refused_in_the_session_that_died_is_not_called_accepted(stage: Asking) -> None:
    refused = "550 5.1.1 no such user"
    task_id = await greylisted(stage, refused)
    stage.server.script.recipients["b@x.example"] = [refused]
    assert await stage.again(task_id) == "succeeded"
    found = await deliveries(stage.pipeline.pool, task_id)
    assert (found["a@x.example"][0], found["b@x.example"]) == ("accepted", ("refused", 550))
    assert received(stage) == ["a@x.example"]


@folded(("names", "also"), [(False, ()), (True, ("stranger@x.example",))])
async def test_an_answer_that_does_not_say_for_whom_settles_no_letter_to_several(
    stage: Asking, *, names: bool, also: tuple[str, ...]
) -> None:
    """没有点名，或点了信里没有的：说不清，照 hold 再问，谁也不算收下。"""
    stage.server.mails.clear()
    task_id = await greylisted(stage)
    stage.index.names, stage.index.also = names, also
    assert await stage.again(task_id) == "retrying"
    assert {found[0] for found in (await deliveries(stage.pipeline.pool, task_id)).values()} == {"intended"}
    assert await stage.answers(task_id) == ["unknown"]
    assert received(stage) == ["a@x.example"]


async def test_an_earlier_session_of_the_same_message_says_nothing_about_a_later_one(stage: Asking) -> None:
    """头一次会话结了账：a 收下、b 推迟；第二次只为 b，记了意向就死了，一个字节也没有寄出。"""
    stage.server.script.recipients["b@x.example"] = ["450 4.7.1 greylisted"]
    task_id = await stage.submit("a@x.example", "b@x.example")
    await stage.deliver(task_id, stage.handler, VERIFY)
    assert await stage.pipeline.status(task_id) == "retrying"
    await stage.pipeline.sql("update tb_outbox set available_at = now()")
    await stage.pipeline.redis.flushdb()
    stage.server.script.mail = STALL
    dying = asyncio.create_task(stage.deliver(task_id, stage.handler, VERIFY))
    await stage.server.stalled.wait()
    dying.cancel()
    with suppress(asyncio.CancelledError):
        await dying
    await stage.pipeline.sql("update tb_work set lease_until = clock_timestamp() - interval '1 s'")
    stage.server.script.mail = "250 ok"
    await stage.redrive(resend=VERIFY)
    assert await stage.again(task_id) == "succeeded"
    assert received(stage) == ["a@x.example", "b@x.example"]


async def test_a_new_sender_domain_between_two_attempts_changes_neither_message_id_nor_the_question(
    stage: Asking,
) -> None:
    stage.server.script.recipients["a@x.example"] = ["450 4.7.1 greylisted"]
    task_id = await stage.submit()
    await stage.deliver(task_id, stage.handler, VERIFY)
    assert await stage.pipeline.status(task_id) == "retrying"
    deployed = "卡管 <no-reply@new.example>"
    stage.handler = EmailHandler(stage.mailer, deployed)
    stage.verifying = EmailVerify(stage.verifying.lookup, deployed)
    await stage.pipeline.redis.flushdb()
    await stage.pipeline.sql("update tb_outbox set available_at = now()")
    await stage.die_after_sending(task_id)
    await stage.redrive(resend=VERIFY)
    assert await stage.again(task_id) == "succeeded"
    assert stage.index.asked == [f"{task_id}@kaguan.example"]
    (mail,) = stage.server.mails
    assert f"Message-ID: <{task_id}@kaguan.example>".encode() in mail.content
