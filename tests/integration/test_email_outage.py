"""灰名单与连不上的中继：重试的间隔熬得过它们。钟由用例拨：把 available_at 提到此刻，记下本该等多久。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.config import load_settings
from kaguan.dev.ports import free_port
from kaguan.tasks.model import Priority, TaskType
from kaguan.tasks.service import Submission, accept_many
from tests.carrier_world import rows
from tests.mail_tasks import config_for, mail_to
from tests.smtp_server import Script, smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer
from workers.testing import drain

if TYPE_CHECKING:
    from kaguan.config import Settings
    from kaguan.database.pool import Pool
    from workers.attempt import Handler

RECIPIENT = "a@x.example"
GREYLIST = 300.0  # 秒；postgrey 的缺省
ATTEMPTS = 6
LEFT = "select extract(epoch from available_at - clock_timestamp())::float8 from tb_outbox"


async def accepted_mail(pool: Pool) -> None:
    async with pool.connection() as connection:
        submission = Submission(TaskType.EMAIL_SEND, mail_to(RECIPIENT), Priority.DEFAULT)
        await accept_many(connection, [submission], ATTEMPTS)


async def one_attempt(pool: Pool, settings: Settings, handler: Handler) -> float:
    """做一次到期的尝试；返回下一次还要等几秒（做完了是 0），并当场拨到那时。"""
    await drain(pool, settings, {TaskType.EMAIL_SEND: handler})
    waits = await rows(pool, LEFT)
    await rows(pool, "update tb_outbox set available_at = clock_timestamp() returning 1")
    return float(waits[0][0]) if waits else 0.0


async def test_a_server_that_greylists_by_time_gets_the_mail(pool: Pool, environ: dict[str, str]) -> None:
    await accepted_mail(pool)
    settings, now = load_settings(environ), 0.0
    async with smtp_server(Script()) as server, open_mailer(config_for(server.url)) as mailer:
        handler = EmailHandler(mailer, settings.smtp.sender)
        for _ in range(ATTEMPTS):
            server.script.recipients = {RECIPIENT: ["451 4.7.1 greylisted"]} if now < GREYLIST else {}
            now += await one_attempt(pool, settings, handler)
    assert await rows(pool, "select status from tb_task") == [("succeeded",)]
    assert len(server.mails) == 1


async def test_a_relay_away_for_half_an_hour_does_not_use_up_the_attempts(pool: Pool, environ: dict[str, str]) -> None:
    await accepted_mail(pool)
    settings, now = load_settings(environ), 0.0
    async with open_mailer(config_for(f"smtp://127.0.0.1:{free_port()}")) as mailer:
        handler = EmailHandler(mailer, settings.smtp.sender)
        for _ in range(ATTEMPTS - 1):
            now += await one_attempt(pool, settings, handler)
    assert now > 30 * 60
    assert await rows(pool, "select status from tb_task") == [("retrying",)]
