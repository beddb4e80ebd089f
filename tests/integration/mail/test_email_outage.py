"""灰名单与停摆的中继主机：停摆几小时也不耗一次尝试、不失败一封。钟由用例拨：available_at 提到此刻，记下本该等多久。"""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import AsyncCursor

from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.testing import drain
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.work.outcome import Done
from tests.support.carrier_world import rows
from tests.support.mail_tasks import NEVER, attempt_of, config_for, insert_running, is_wait, mail_to, run
from tests.support.places import own_port
from tests.support.smtp_server import DROP, Script, SmtpServer, smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer

RECIPIENT = "a@x.example"
GREYLIST = 300.0  # 秒；postgrey 的缺省
ATTEMPTS = 6
HOURS = 6 * 3_600.0  # 秒
FAILURES = 3
LEFT = "select extract(epoch from max(available_at) - clock_timestamp())::float8 from tb_outbox"
STATES = "select status, attempt, count(*)::int from vw_task group by 1, 2 order by 1, 2"


async def accepted_mails(pool: Pool, *recipients: str) -> None:
    async with pool.connection() as connection:
        submissions = [Submission(EMAIL_SEND, mail_to(one), Priority.DEFAULT) for one in recipients]
        await accept_many(connection, submissions, ATTEMPTS)


def people(count: int) -> list[str]:
    return [f"u{number}@x.example" for number in range(count)]


async def one_pass(pool: Pool, settings: Settings, *handlers: Handler[Any]) -> float:
    """做一遍到期的，几个进程各一遍；返回最晚的下一次还要等几秒（做完了是 0），并当场拨到那时。"""
    for handler in handlers:
        await drain(pool, {EMAIL_SEND: handler}, settings.tasks, settings.worker)
    [(wait,)] = await rows(pool, LEFT)
    await rows(pool, "update tb_outbox set available_at = clock_timestamp() returning 1")
    return float(wait or 0.0)


async def test_a_server_that_greylists_by_time_gets_the_mail(pool: Pool, environ: dict[str, str]) -> None:
    await accepted_mails(pool, RECIPIENT)
    settings, now = load_settings(environ), 0.0
    async with smtp_server(Script()) as server, open_mailer(config_for(server.url)) as mailer:
        handler = EmailHandler(mailer, settings.smtp.sender)
        for _ in range(ATTEMPTS):
            server.script.recipients = {RECIPIENT: ["451 4.7.1 greylisted"]} if now < GREYLIST else {}
            now += await one_pass(pool, settings, handler)
    [(status, attempts, _)] = await rows(pool, STATES)
    assert status == "succeeded"
    assert attempts > 1, "灰名单说的是这封信，照常计"
    assert len(server.mails) == 1


def down(server: SmtpServer) -> None:
    """数得出来了几条连接的停摆。"""
    server.script.greeting = "421 4.3.2 shutting down"


async def test_a_relay_host_down_for_hours_costs_no_mail_an_attempt_and_each_arrives_once(
    pool: Pool, environ: dict[str, str]
) -> None:
    settings, now, passes = load_settings(environ), 0.0, 0
    async with (
        smtp_server() as server,
        open_mailer(config_for(server.url, breaker_cooldown=0.05), tick=(0.01, 0.02)) as one,
        open_mailer(config_for(server.url, breaker_cooldown=0.05), tick=(0.01, 0.02)) as other,
    ):
        processes = [EmailHandler(mailer, settings.smtp.sender) for mailer in (one, other)]
        down(server)
        await accepted_mails(pool, *people(4))
        while now < HOURS or passes < ATTEMPTS * 2:
            now += await one_pass(pool, settings, *processes)
            passes += 1
            assert await rows(pool, STATES) == [("retrying", 0, 4)]
        server.script.greeting = "220 test ESMTP"
        while await rows(pool, "select 1 from tb_outbox limit 1"):
            await one_pass(pool, settings, *processes)
    assert await rows(pool, STATES) == [("succeeded", 1, 4)]
    assert sorted(mail.recipients for mail in server.mails) == sorted([one] for one in people(4))
    assert await rows(pool, "select count(*)::int from tb_task_event") == [(4,)], "一段等待只留一笔"


async def test_while_the_breaker_is_open_no_process_connects_and_nothing_is_recorded(
    pool: Pool, environ: dict[str, str]
) -> None:
    settings = load_settings(environ)
    config: dict[str, Any] = {"breaker_failures": FAILURES, "breaker_cooldown": 3_600}
    async with (
        smtp_server() as server,
        open_mailer(config_for(server.url, **config), tick=NEVER) as one,
        open_mailer(config_for(server.url, **config), tick=NEVER) as other,
    ):
        processes = [EmailHandler(mailer, settings.smtp.sender) for mailer in (one, other)]
        down(server)
        for number in range(10):
            await accepted_mails(pool, *people(4))
            await one_pass(pool, settings, processes[number % 2])
        assert server.connections == FAILURES * len(processes)
    assert server.commands == []
    assert await rows(pool, STATES) == [("retrying", 0, 40)]
    assert (
        await rows(pool, "select 1 from tb_email_delivery union all select 1 from vw_task where intent_at is not null")
        == []
    )


async def test_a_pass_of_a_waiting_mail_is_two_statements_and_the_passes_get_rare(
    pool: Pool, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, mails = load_settings(environ), 8
    counted: list[str] = []
    execute = AsyncCursor.execute

    async def counting(cursor: AsyncCursor[Any], query: Any, *rest: Any, **options: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        if "tb_task" in text or "tb_email_delivery" in text:
            counted.append(text)
        return await execute(cursor, query, *rest, **options)

    address = f"smtp://127.0.0.1:{own_port()}"
    async with open_mailer(config_for(address, breaker_failures=1, breaker_cooldown=3_600)) as mailer:
        handler = EmailHandler(mailer, settings.smtp.sender)
        await accepted_mails(pool, *people(mails))
        waits = [await one_pass(pool, settings, handler)]
        monkeypatch.setattr(AsyncCursor, "execute", counting)
        await drain(pool, {EMAIL_SEND: handler}, settings.tasks, settings.worker)
        monkeypatch.setattr(AsyncCursor, "execute", execute)
        await rows(pool, "update tb_outbox set available_at = clock_timestamp() returning 1")
        waits += [await one_pass(pool, settings, handler) for _ in range(10)]
    settled = [text for text in counted if "staged as" in text]
    claimed = [text for text in counted if "%(claim_ids)s" in text and text not in settled]
    assert (len(settled), len(claimed)) == (mails, mails)
    assert len(counted) <= 2 * mails + 4, "其余的是取件自己的几条"
    assert waits[0] < 120
    assert min(waits[-3:]) > 1_800, "越等越稀：一小时至多两趟"


@pytest.mark.parametrize("reply", ["535", "454", "530"])
async def test_a_wrong_password_is_an_outage_of_configuration_and_costs_no_attempt(
    pool: Pool, environ: dict[str, str], reply: str
) -> None:
    settings = load_settings(environ)
    script = Script(credentials=("user", "right"), rejection=f"{reply} 5.7.8 no")
    async with smtp_server(script) as server, open_mailer(config_for(server.url_as("user", "wrong"))) as mailer:
        seen: list[str] = []
        handler = EmailHandler(mailer, settings.smtp.sender, deferred=seen.append)
        await accepted_mails(pool, *people(2))
        for _ in range(ATTEMPTS * 2):
            await one_pass(pool, settings, handler)
    assert await rows(pool, STATES) == [("retrying", 0, 2)]
    assert "login" in seen
    [(reasons,)] = await rows(pool, "select array_agg(distinct last_error ->> 'reason') from vw_task")
    assert all("中继拒绝登录" in reason and "wrong" not in reason for reason in reasons)


async def test_mails_cut_off_in_the_session_by_a_dying_relay_host_lose_no_attempt(
    pool: Pool, environ: dict[str, str]
) -> None:
    settings = load_settings(environ)
    async with smtp_server() as server, open_mailer(config_for(server.url)) as mailer:
        handler = EmailHandler(mailer, settings.smtp.sender)
        await accepted_mails(pool, "first@x.example")
        await one_pass(pool, settings, handler)
        server.script.data = DROP
        await accepted_mails(pool, *people(2))
        await one_pass(pool, settings, handler)
        assert await rows(pool, STATES) == [("retrying", 0, 2), ("succeeded", 1, 1)]
        server.script.data = "354 go on"
        await one_pass(pool, settings, handler)
    assert await rows(pool, STATES) == [("succeeded", 1, 3)]
    assert len(server.mails) == 3


@pytest.mark.unjudged("任务造出来就在跑，也没有人结算")
async def test_a_relay_host_out_of_reach_is_never_the_fault_of_a_mail_whose_session_once_broke(pool: Pool) -> None:
    payloads = [mail_to(one) for one in ("unlucky@x.example", "other@x.example")]
    unlucky, other = [await insert_running(pool, payload) for payload in payloads]
    script = Script(recipients={"unlucky@x.example": [DROP]})
    async with smtp_server(script) as server, open_mailer(config_for(server.url)) as mailer:
        assert is_wait(await run(mailer, attempt_of(pool, unlucky, payloads[0])))
        assert isinstance(await run(mailer, attempt_of(pool, other, payloads[1])), Done)
        server.script.rset = DROP  # 留着的连接也断了
        down(server)
        assert is_wait(await run(mailer, attempt_of(pool, unlucky, payloads[0])))


async def test_a_mail_that_breaks_the_session_each_time_while_others_pass_is_counted_and_ends(
    pool: Pool, environ: dict[str, str]
) -> None:
    settings = load_settings(environ)
    script = Script(recipients={"poison@x.example": [DROP] * 100})
    async with smtp_server(script) as server, open_mailer(config_for(server.url)) as mailer:
        handler = EmailHandler(mailer, settings.smtp.sender)
        await accepted_mails(pool, "poison@x.example")
        await one_pass(pool, settings, handler)
        for number in range(ATTEMPTS * 2):
            await accepted_mails(pool, f"good{number}@x.example")
            await one_pass(pool, settings, handler)
    assert await rows(pool, STATES) == [("failed", ATTEMPTS, 1), ("succeeded", 1, ATTEMPTS * 2)]
