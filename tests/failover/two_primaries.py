"""两个主库同时收得了写入：relay 与 worker 只跟新的那个，旧的排在头一个也不去（`make prove P=failover`）。"""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from uuid import UUID

import psycopg

from kaguan.config import load_settings
from kaguan.database.pool import PASSING_ERRORS, open_pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome
from kaguan.sims.tasks import SIM_STATUS_SYNC, SimStatusPayload
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, QUICK, Effects, all_closed, effects, own_directory, relaying
from tests.support.mail_tasks import SENDER, config_for, mail_to
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline
from tests.support.said import capture_logs
from tests.support.smtp_server import smtp_server
from tests.support.standby import replicated
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer

EACH = 5  # 每一段交这么多封信、这么多个记一行效果的
END = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'kaguan-worker'"
CONTENTS = "select (select json_agg(t) from {one} t)::text"
WRITTEN = ("tb_task", "tb_work", "tb_outbox", "tb_task_event", "tb_email_delivery", "tb_broker", "fault_effect")
UNKNOWN = {("uncertain", 0), ("uncertain", 1)}  # 断在记意向、记结局的那一下：不再寄，等人
REFUSED = "切换之前的主库又在当主的，不跟它"


async def test_relay_and_worker_follow_the_new_primary_and_the_old_one_that_takes_writes_again_sees_nothing(
    environ: dict[str, str],
) -> None:
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(replicated(stack.enter_context(own_directory()), synchronous=False))
        old = pair.primary
        await pair.primary_process.stop(signal.SIGKILL)
        await pair.promote()
        settings = load_settings({**environ, **QUICK, "KAGUAN_DATABASE__URL": pair.url})  # 旧的在前
        pool = await stack.enter_async_context(open_pool(settings.database, "worker"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.sql(EFFECT_TABLE)
        smtp = await stack.enter_async_context(smtp_server())
        mailer = await stack.enter_async_context(open_mailer(config_for(smtp.url)))
        handlers = EmailHandler(mailer, SENDER), Effects()

        async def handle(attempt: Attempt[Any]) -> Outcome:
            return await handlers[attempt.type != EMAIL_SEND.name](attempt)

        await stack.enter_async_context(relaying(pipeline))
        await stack.enter_async_context(pipeline.working(handle))
        mails = await submitted(pipeline)
        await eventually(partial(closed, pipeline))

        await pair.standby_process.start()
        async with await psycopg.AsyncConnection.connect(old.url, autocommit=True) as one:
            await one.execute(EFFECT_TABLE)  # 它又当起了主的
            before = [await (await one.execute(CONTENTS.format(one=name).encode())).fetchall() for name in WRITTEN]
            admin = await stack.enter_async_context(
                await psycopg.AsyncConnection.connect(pair.primary.admin_url_of("postgres"), autocommit=True)
            )
            with capture_logs() as logs:
                for _ in range(3):
                    mails += await submitted(pipeline)
                    await admin.execute(END)  # 池里的全断，正做着的也是
                    await eventually(partial(closed, pipeline))
                mails += await submitted(pipeline)
                await eventually(partial(closed, pipeline))
            after = [await (await one.execute(CONTENTS.format(one=name).encode())).fetchall() for name in WRITTEN]
        assert after == before
        refused = [line for line in logs if line["event"] == REFUSED]
        assert {(line["log_level"], line["timeline"] < line["followed"]) for line in refused} == {("warning", True)}
        assert await effects(pipeline) == (5 * EACH, 5 * EACH)
        statuses = dict(await pipeline.sql("select id, status from vw_task"))
        assert len(statuses) == 2 * 5 * EACH
        sent = [(statuses[one], sum(f"<{one}@".encode() in mail.content for mail in smtp.mails)) for one in mails]
        assert set(sent) <= {("succeeded", 1), *UNKNOWN}
        assert set(sent[:EACH] + sent[-EACH:]) == {("succeeded", 1)}


async def submitted(pipeline: Pipeline) -> list[UUID]:
    """信的任务号；另有同样多个记一行效果的。"""
    sync = [Submission(SIM_STATUS_SYNC, SimStatusPayload(iccids=("89860000000000000001",))) for _ in range(EACH)]
    mails = [Submission(EMAIL_SEND, mail_to("a@x.example")) for _ in range(EACH)]
    async with pipeline.pool.connection() as connection:
        outcomes = await accept_many(connection, [*mails, *sync], MAX_ATTEMPTS)
    return [outcome.task_id for outcome in outcomes if not isinstance(outcome, Exception)][:EACH]


async def closed(pipeline: Pipeline) -> bool:
    try:
        return await all_closed(pipeline)
    except PASSING_ERRORS:  # 断着：还不知道，再看
        return False
