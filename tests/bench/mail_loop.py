"""一个下午写得出的发信循环，独占一个进程：同样的两行（意向、结局）各自提交，同样多条连接，没有任何保证。

``python -m tests.bench.mail_loop 端口 封数 连接数 每秒几封到``，数据库照配置；印出 JSON：
每秒几封，本进程每封的 CPU 秒，从到达到寄成的 P95 毫秒。
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from uuid import UUID, uuid4

import orjson
import uvloop
from aiosmtplib import SMTP

from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.flow.probes import LOOPBACK
from tests.bench.client import SEED
from tests.bench.mailing import BODY, RECIPIENT, SUBJECT

INTEND = (
    "insert into tb_email_delivery (task_id, recipient, status, message_id, attempt) values (%s, %s, 'intended', %s, 1)"
)
RECORD = (
    "update tb_email_delivery set status = 'accepted', smtp_code = %s, smtp_reply = %s, settled_at = clock_timestamp()"
    " where task_id = %s and recipient = %s"
)


async def send(pool: Pool, client: SMTP, task_id: UUID) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "no-reply@kaguan.example", RECIPIENT, SUBJECT
    message["Message-ID"] = identifier = make_msgid(domain="kaguan.example")
    message["Date"] = format_datetime(datetime.now(UTC))
    message.set_content(BODY)
    async with pool.connection() as connection:
        await connection.execute(INTEND, (task_id, RECIPIENT, identifier))
    _, reply = await client.send_message(message)
    async with pool.connection() as connection:
        await connection.execute(RECORD, (250, reply, task_id, RECIPIENT))


async def lane(pool: Pool, port: int, due: asyncio.Queue[float | None], waits: list[float]) -> None:
    client = SMTP(hostname=LOOPBACK, port=port, start_tls=False, use_tls=False)
    async with client:
        while (moment := await due.get()) is not None:
            await send(pool, client, uuid4())
            waits.append(time.monotonic() - moment)


async def arrive(due: asyncio.Queue[float | None], mails: int, rate: float) -> None:
    """``rate`` 为 0 都已经到了；否则泊松到达。"""
    dice, moment = random.Random(SEED), time.monotonic()
    for _ in range(mails):
        moment += dice.expovariate(rate) if rate else 0
        await asyncio.sleep(max(0, moment - time.monotonic()))
        due.put_nowait(moment)


async def main(port: int, mails: int, connections: int, rate: float) -> None:
    settings = load_settings()
    due: asyncio.Queue[float | None] = asyncio.Queue()
    waits: list[float] = []
    async with open_pool(settings.database, "mail-loop") as pool:
        started, used = time.monotonic(), time.process_time()
        async with asyncio.TaskGroup() as lanes:
            for _ in range(connections):
                lanes.create_task(lane(pool, port, due, waits))
            await arrive(due, mails, rate)
            for _ in range(connections):
                due.put_nowait(None)
        seconds, cpu = time.monotonic() - started, time.process_time() - used
    p95 = sorted(waits)[int(0.95 * (mails - 1))] * 1000
    sys.stdout.buffer.write(orjson.dumps({"rate": mails / seconds, "cpu": cpu / mails, "p95": p95}))


if __name__ == "__main__":
    port, mails, connections = map(int, sys.argv[1:4])
    uvloop.run(main(port, mails, connections, float(sys.argv[4])))
