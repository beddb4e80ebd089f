from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any
from uuid import UUID

import pytest
import uvloop
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from redis.asyncio import Redis

from kaguan.mail.message import Envelope, build
from kaguan.outbox.spans import process_span
from tests.support.eventually import PATIENCE, eventually
from tests.support.mail_tasks import (
    NEVER,
    SENDER,
    STALLED,
    advance,
    client_tls,
    config_for,
    mail_to,
    server_tls,
    throttled_mailer,
)
from tests.support.places import own_port
from tests.support.smtp_server import DROP, STALL, Script, SmtpServer, smtp_server
from tests.support.tracing import only as only_span
from workers.email.pool import LIMITS, SessionLimits
from workers.email.receipt import Outage, Receipt, RecipientOutcome
from workers.email.transport import TICK, Mailer, QueuedError, RelayHostOpenError, open_mailer

TASK_ID = UUID("01890000-0000-7000-8000-000000000001")


def letter(*recipients: str, body: str = "正文") -> Envelope:
    return build(mail_to(*recipients or ("a@x.example",), body=body), TASK_ID, SENDER, datetime(2026, 1, 1, tzinfo=UTC))


async def send(mailer: Mailer, envelope: Envelope | None = None) -> dict[str, Receipt]:
    chosen = envelope or letter()
    recipients = list(chosen.recipients)

    async def declare() -> list[str]:
        return recipients

    return await mailer.send(chosen, recipients, declare)


@asynccontextmanager
async def stage(
    script: Script | None = None,
    limits: SessionLimits = LIMITS,
    tick: tuple[float, float] = TICK,
    **config: Any,
) -> AsyncIterator[tuple[SmtpServer, Mailer]]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(smtp_server(script))
        url = str(config.pop("url", server.url)).replace("PORT", str(server.port))
        opening = open_mailer(config_for(url, **config), tls=client_tls(), limits=limits, tick=tick)
        yield server, await stack.enter_async_context(opening)


def only(receipts: dict[str, Receipt]) -> Receipt:
    (receipt,) = receipts.values()
    return receipt


async def outcome_of(mailer: Mailer) -> RecipientOutcome | None:
    """这封信的结局；``None`` 是没排上我们自己的限额。"""
    try:
        return only(await send(mailer)).outcome
    except QueuedError:
        return None


async def outcomes_of(mailers: list[Mailer], room: int) -> list[RecipientOutcome | None]:
    """各寄一封；``room`` 封有了结局，别的才等到头。"""
    sending = [asyncio.create_task(outcome_of(mailer)) for mailer in mailers]
    await eventually(lambda: sum(one.done() for one in sending) >= room)
    advance(PATIENCE)
    return await asyncio.gather(*sending)


@pytest.mark.parametrize("reachable", [True, False])
async def test_a_relay_host_out_of_reach_is_a_failed_span(exported: InMemorySpanExporter, *, reachable: bool) -> None:
    async with stage(url="smtp://127.0.0.1:PORT" if reachable else f"smtp://127.0.0.1:{own_port()}") as (_, mailer):
        with process_span("email:send", TASK_ID, "default", 1, None):
            await send(mailer)
    span = only_span(exported, "smtp send")
    attributes = dict(span.attributes or {})
    assert attributes["server.address"] == "127.0.0.1"
    assert attributes.get("error.type") == (None if reachable else "UnreachableError")
    assert span.status.status_code is (StatusCode.UNSET if reachable else StatusCode.ERROR)


async def test_one_connection_carries_many_mails_and_is_checked_before_each_reuse() -> None:
    async with stage() as (server, mailer):
        for _ in range(5):
            assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert server.connections == 1
    assert server.commands.count("RSET") == 4
    assert len(server.mails) == 5


async def test_a_connection_the_server_closed_meanwhile_is_replaced_unnoticed() -> None:
    async with stage(Script(rset=DROP)) as (server, mailer):
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert server.connections == 2


async def test_never_more_connections_than_configured() -> None:
    async with stage(connections=2) as (server, mailer):
        receipts = await asyncio.gather(*(send(mailer) for _ in range(12)))
    assert all(only(receipt).outcome is RecipientOutcome.ACCEPTED for receipt in receipts)
    assert len(server.mails) == 12
    assert server.most_open <= 2


async def test_a_process_that_tries_by_itself_keeps_to_the_connections_configured() -> None:
    async with stage(Script(greeting="421 busy"), tick=NEVER, connections=1) as (server, mailer):
        await send(mailer)
        server.script.greeting, server.script.mail = "220 test ESMTP", STALL
        sending = asyncio.create_task(send(mailer))
        await server.stalled.wait()
        assert not await mailer.probe()
        assert server.connections == 2
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await mailer.probe()


async def test_a_mail_accepted_is_not_held_up_by_the_farewell_of_its_worn_out_connection() -> None:
    async with stage(limits=SessionLimits(messages=1), tick=NEVER) as (server, mailer):
        await send(mailer)
        assert "QUIT" not in server.commands
        await send(mailer)
        assert (server.connections, server.commands.count("QUIT")) == (2, 1)


async def test_idle_connections_are_closed_with_a_farewell() -> None:
    async with stage() as (server, mailer):
        await send(mailer)
        assert await mailer.pool.close_stale() == 0
        mailer.pool.limits = SessionLimits(idle=0.0)
        assert await mailer.pool.close_stale() == 1
        assert server.commands[-1] == "QUIT"


async def test_a_refused_mail_leaves_the_connection_fit_for_the_next_one() -> None:
    script = Script(recipients={"bad@x.example": ["550 no"]})
    async with stage(script) as (server, mailer):
        assert only(await send(mailer, letter("bad@x.example"))).outcome is RecipientOutcome.REFUSED
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert server.connections == 1


async def test_worker_processes_share_the_relay_rate_through_redis(redis_url: str) -> None:
    async with (
        smtp_server() as server,
        Redis.from_url(redis_url) as one,
        Redis.from_url(redis_url) as other,
        open_mailer(config_for(server.url, per_second=3, data_timeout=PATIENCE), one, rate_window=3_600) as first,
        open_mailer(config_for(server.url, per_second=3, data_timeout=PATIENCE), other, rate_window=3_600) as second,
    ):
        outcomes = await outcomes_of([mailer for mailer in (first, second) for _ in range(3)], 3)
    assert outcomes.count(RecipientOutcome.ACCEPTED) == len(server.mails) == 3
    assert outcomes.count(None) == 3


async def test_without_redis_the_rate_is_still_limited() -> None:
    async with (
        smtp_server() as server,
        Redis.from_url(f"redis://127.0.0.1:{own_port()}") as gone,
        open_mailer(config_for(server.url, per_second=2, data_timeout=PATIENCE), gone, rate_window=3_600) as mailer,
    ):
        outcomes = await outcomes_of([mailer] * 5, 2)
    assert outcomes.count(RecipientOutcome.ACCEPTED) == 2


async def test_mails_behind_one_that_waits_for_our_own_rate_wait_for_it_too() -> None:
    async with throttled_mailer() as mailer:
        assert await asyncio.gather(*(outcome_of(mailer) for _ in range(3))) == [None] * 3


async def test_a_relay_that_hangs_on_to_every_connection_is_an_outage() -> None:
    async with stage(Script(greeting=STALL), connections=1, timeout=PATIENCE, data_timeout=STALLED) as (server, mailer):
        hanging = asyncio.create_task(send(mailer))
        await server.stalled.wait()
        receipt = only(await send(mailer))
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    assert (receipt.outcome, str(receipt.reply)) == (RecipientOutcome.DEFERRED, "等连接超时")


async def test_a_half_open_breaker_lets_a_single_mail_through() -> None:
    told: list[str] = []
    knobs: dict[str, Any] = {"breaker_failures": 2, "breaker_cooldown": PATIENCE, "connections": 4}
    async with stage(Script(greeting="421 busy"), tick=NEVER, **knobs) as (server, mailer):
        mailer.watch_breaker(lambda _, status: told.append(status.state))
        assert [only(await send(mailer)).outage for _ in range(2)] == [Outage.GREETING] * 2
        with pytest.raises(RelayHostOpenError, match="中继"):
            await send(mailer)
        advance(2 * PATIENCE)  # 冷却期另加几成，随机
        await eventually(lambda: told[-1] == "half-opened")
        server.script.greeting, server.script.delay = "220 test ESMTP", 0.1
        answers = await asyncio.gather(*(send(mailer) for _ in range(4)), return_exceptions=True)
    assert server.connections == 3
    assert sum(isinstance(answer, RelayHostOpenError) for answer in answers) == 3
    assert len(server.mails) == 1
    assert told == ["closed", "opened", "half-opened", "closed"]


@pytest.mark.parametrize("inside", [False, True])
async def test_a_process_tries_by_itself_whether_it_can_connect_again_but_not_whether_mails_are_taken(
    *, inside: bool
) -> None:
    script = Script(mail="421 closing") if inside else Script(greeting="421 busy")
    told: list[str] = []
    async with stage(script, tick=(0.01, 0.02), breaker_failures=1, breaker_cooldown=0.05) as (server, mailer):
        mailer.watch_breaker(lambda _, status: told.append(status.state))
        await send(mailer)
        await eventually(lambda: "half-opened" in told)
        server.script.greeting = "220 test ESMTP"
        if inside:
            assert not await mailer.probe()
            assert (server.connections, told[-1]) == (1, "half-opened")
            server.script.mail = "250 ok"
        else:
            await eventually(lambda: told[-1] == "closed")
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert told[-1] == "closed"


@pytest.mark.parametrize("mode", ["required", "optional"])
async def test_starttls_is_used_when_offered(mode: str) -> None:
    async with stage(Script(starttls=server_tls()), starttls=mode) as (server, mailer):
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert server.mails[0].encrypted


async def test_stripped_starttls_is_refused_before_any_mail_command() -> None:
    async with stage(starttls="required") as (server, mailer):
        receipt = only(await send(mailer))
    assert receipt.outcome is RecipientOutcome.DEFERRED
    assert "STARTTLS" in str(receipt.reply)
    assert "MAIL" not in server.commands


async def test_a_password_is_never_sent_in_clear_when_starttls_vanished() -> None:
    script = Script(credentials=("user", "secret"))
    async with stage(script, url="smtp://user:secret@127.0.0.1:PORT", starttls="optional") as (server, mailer):
        assert only(await send(mailer)).outcome is RecipientOutcome.DEFERRED
    assert "AUTH" not in server.commands


async def test_optional_starttls_without_login_goes_on_in_clear() -> None:
    async with stage(starttls="optional") as (server, mailer):
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert not server.mails[0].encrypted


async def test_implicit_tls_and_login() -> None:
    script = Script(implicit_tls=server_tls(), credentials=("us er", "p@ss:word"))
    url = "smtps://us%20er:p%40ss%3Aword@127.0.0.1:PORT"
    async with stage(script, url=url) as (server, mailer):
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert (server.mails[0].encrypted, server.mails[0].login) == (True, "us er")


async def test_a_wrong_password_defers_and_says_535_but_not_the_password() -> None:
    script = Script(credentials=("user", "right"))
    async with stage(script, url="smtp://user:wrong@127.0.0.1:PORT") as (_, mailer):
        receipt = only(await send(mailer))
    assert (receipt.outcome, receipt.code) == (RecipientOutcome.DEFERRED, 535)
    assert "wrong" not in str(receipt.reply)


async def test_an_untrusted_certificate_is_refused() -> None:
    async with (
        smtp_server(Script(implicit_tls=server_tls())) as server,
        open_mailer(config_for(server.url)) as mailer,  # 系统信任库里没有测试证书
    ):
        receipt = only(await send(mailer))
    assert (receipt.outcome, str(receipt.reply)) == (RecipientOutcome.DEFERRED, "与中继协商 TLS 失败：证书是自签名的")
    assert server.mails == []


async def test_a_relay_without_smtputf8_refuses_international_addresses_only() -> None:
    async with stage(Script(smtputf8=False)) as (_, mailer):
        receipt = only(await send(mailer, letter("用户@例子.测试")))
        assert receipt.outcome is RecipientOutcome.REFUSED
        assert "SMTPUTF8" in str(receipt.reply)
        assert only(await send(mailer, letter("user@例子.测试"))).outcome is RecipientOutcome.ACCEPTED


async def test_without_smtputf8_the_other_recipients_of_the_same_mail_get_it() -> None:
    envelope = letter("a@x.example", "用户@例子.测试", "user@例子.测试")
    async with stage(Script(smtputf8=False)) as (server, mailer):
        receipts = await send(mailer, envelope)
        again = await send(mailer, envelope)
    assert {one: receipt.outcome for one, receipt in receipts.items()} == {
        "a@x.example": RecipientOutcome.ACCEPTED,
        "用户@例子.测试": RecipientOutcome.REFUSED,
        "user@例子.测试": RecipientOutcome.ACCEPTED,
    }
    assert again == receipts
    first, second = server.mails
    assert first == second
    assert first.recipients == ["a@x.example", "user@xn--fsqu00a.xn--0zwm56d"]
    head = first.content.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert message_from_bytes(head)["To"] == "a@x.example,\r\n user@xn--fsqu00a.xn--0zwm56d"


async def test_with_smtputf8_nobody_is_left_out() -> None:
    envelope = letter("a@x.example", "用户@例子.测试")
    async with stage() as (server, mailer):
        receipts = await send(mailer, envelope)
    assert {receipt.outcome for receipt in receipts.values()} == {RecipientOutcome.ACCEPTED}
    assert server.mails[0].content == envelope.content


async def test_a_server_that_hangs_in_the_greeting_is_given_up_on() -> None:
    async with stage(Script(greeting="stall"), timeout=STALLED) as (server, mailer):
        assert only(await send(mailer)).outcome is RecipientOutcome.DEFERRED
        assert server.stalled.is_set()


async def test_a_cancelled_delivery_never_returns_its_connection() -> None:
    script = Script(recipients={"a@x.example": ["stall"]})
    async with stage(script) as (server, mailer):
        task = asyncio.create_task(send(mailer))
        await server.stalled.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert only(await send(mailer)).outcome is RecipientOutcome.ACCEPTED
    assert server.connections == 2


async def test_cancelling_while_a_kept_connection_is_checked_closes_it() -> None:
    async with stage(Script(rset="stall")) as (server, mailer):
        await send(mailer)
        task = asyncio.create_task(send(mailer))
        await server.stalled.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: server.open_now == 0)


async def test_hostile_reply_text_is_stored_as_one_clean_bounded_line() -> None:
    script = Script(recipients={"a@x.example": ["550-\x00\x1b[31m\udcff\r\n550 " + "y" * 2000]})
    async with stage(script) as (_, mailer):
        receipt = only(await send(mailer))
    assert receipt.outcome is RecipientOutcome.REFUSED
    assert str(receipt.reply).isprintable()
    assert len(str(receipt.reply)) <= 500


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (Script(), RecipientOutcome.ACCEPTED),
        (Script(body=[DROP]), RecipientOutcome.UNKNOWN),
        (Script(drop_in_body=True, narrow=True), RecipientOutcome.DEFERRED),
        (Script(data=DROP), RecipientOutcome.DEFERRED),
    ],
    ids=lambda value: str(value) if isinstance(value, RecipientOutcome) else "",
)
def test_the_moment_of_the_break_is_told_apart_on_the_loop_that_workers_run_on(
    script: Script, outcome: RecipientOutcome
) -> None:
    async def scenario() -> Receipt:
        async with stage(script) as (_, mailer):
            return only(await send(mailer, letter(body="x" * 3_000_000)))

    assert uvloop.run(scenario()).outcome is outcome
