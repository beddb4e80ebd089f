"""邮件测试共用：造一行正在执行的任务，跑一次处理器，按结算的规矩落账。"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr
from uuid_utils.compat import uuid7

from kaguan.breakers.board import BreakerKind
from kaguan.config.model import Smtp
from kaguan.database.pool import Pool
from kaguan.mail.message import Envelope, build
from kaguan.mail.task import EmailPayload
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Fence, Token
from kaguan.outbox.work.outcome import Outcome, Snooze
from tests.support.eventually import PACE, PATIENCE
from tests.support.running_task import running_task
from tests.support.smtp_server import STALL, smtp_server
from workers.email.handler import EmailHandler
from workers.email.receipt import Receipt
from workers.email.transport import Mailer, open_mailer
from workers.pauses import PAUSE

CERTIFICATES = Path(__file__).parent / "certificates"
STALLED = min(3.0, PACE)  # 秒；用例里等装死的对方这么久；答得出的步子远在其内
NEVER = (1e9, 1e9)  # 秒；本用例里不自己试探，钟拨了也不
SENDER = "卡管 <no-reply@kaguan.example>"


def config_for(url: str, **overrides: object) -> Smtp:
    return Smtp.model_validate({"url": SecretStr(url), "sender": SENDER, "starttls": "off", **overrides})


def server_tls(certificate: str = "localhost") -> ssl.SSLContext:
    """``localhost`` 自签，也是 ``expired``、``elsewhere``（主机名不符）、``named``（只有名字，没有地址）的 CA。

    ``stranger`` 的 CA 谁也不认识。
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / f"{certificate}.crt", CERTIFICATES / "localhost.key")
    return context


def client_tls() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATES / "localhost.crt"))


def mail_to(*recipients: str, **fields: object) -> EmailPayload:
    return EmailPayload.model_validate({"to": recipients, "subject": "你好", "body": "正文", **fields})


async def insert_running(pool: Pool, payload: EmailPayload) -> UUID:
    """一行 running 的 email:send；认领号就是任务号。"""
    task_id = UUID(str(uuid7()))
    await running_task(pool, "email:send", payload, Token(task_id, 1, task_id))
    return task_id


def attempt_of(pool: Pool, task_id: UUID, payload: EmailPayload, number: int = 1) -> Attempt[EmailPayload]:
    """第 ``number`` 次投递的尝试；不是头一次的，先得有人收走过（``taken_over``）。"""
    return Attempt(Fence(pool, Token(task_id, number, task_id)), "email:send", number, 6, payload)


async def run(mailer: Mailer, attempt: Attempt[EmailPayload]) -> Outcome:
    """执行一次；结局的写入与清除意向在同一事务里，如结算所为。"""
    outcome = await EmailHandler(mailer, SENDER)(attempt)
    async with attempt.transaction() as connection:
        if outcome.effect is not None:
            await outcome.effect(connection)
        await connection.execute("update tb_task set intent_at = null where id = %s", (attempt.task_id,))
    return outcome


def advance(seconds: float) -> None:
    """把事件循环的钟往前拨：等装死的对方等到时限，不必真等，时限也就不必短到自己一停顿就过了。"""
    loop = asyncio.get_running_loop()
    before = loop.time
    vars(loop)["time"] = lambda: before() + seconds


def gives_up(reply: str) -> None:
    """:attr:`Script.thinking`：装死的，我们马上等到 :data:`PATIENCE` 那么长的时限。"""
    if reply == STALL:
        advance(PATIENCE)


async def send(mailer: Mailer, envelope: Envelope) -> Receipt:
    """不经任务，直接寄给唯一的收件人；返回他的回执。"""
    recipients = list(envelope.recipients)

    async def declare() -> list[str]:
        return recipients

    (receipt,) = (await mailer.send(envelope, recipients, declare)).values()
    return receipt


def is_wait(outcome: Outcome) -> bool:
    """等中继主机恢复：不计尝试。"""
    return isinstance(outcome, Snooze) and outcome.waiting_for is BreakerKind.SMTP and outcome.delay >= PAUSE


@asynccontextmanager
async def throttled_mailer() -> AsyncIterator[Mailer]:
    """限额刚用完的通道：一小时之内再没有名额，一封也寄不出。"""
    async with smtp_server() as server:
        config = config_for(server.url, per_second=1, connections=1, data_timeout=STALLED)
        async with open_mailer(config, rate_window=3_600) as mailer:
            envelope = build(mail_to("a@x.example"), UUID(int=0), SENDER, datetime.now(UTC))
            await send(mailer, envelope)
            yield mailer
            assert len(server.mails) == 1


async def deliveries(pool: Pool, task_id: UUID) -> dict[str, tuple[str, int | None]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select recipient, status, smtp_code from tb_email_delivery where task_id = %s", (task_id,)
        )
        return {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}
