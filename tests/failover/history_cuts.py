"""PostgreSQL 真的丢了尾巴：寄过的不再寄，做过的再做一遍而效果只有一次，不见了的点得出名。

不在缺省的用例里：``make prove P=failover``，或 ``python -m pytest tests/failover/history_cuts.py``。
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import PASSING_ERRORS, open_pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.deliver import in_redis
from kaguan.outbox.recover.gate import Mark
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Outcome
from kaguan.queues import keys
from kaguan.sims.tasks import SIM_CHANGE, SIM_STATUS_SYNC, SimStatusPayload
from tests.failover.cutting import Cut, Cutting
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, QUICK, Effects, own_directory, own_postgres, own_valkey, relaying
from tests.support.mail_tasks import SENDER, config_for, mail_to
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline
from tests.support.smtp_server import SmtpServer, smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer

DONE = "select count(*) from vw_task where status in ('pending', 'queued', 'running', 'retrying')"


@dataclass(slots=True)
class Scene:
    pipeline: Pipeline
    cutting: Cutting
    server: SmtpServer
    mail: EmailHandler
    effects: Effects

    async def __call__(self, attempt: Attempt[Any]) -> Outcome:
        """信真的寄；别的在结算的事务里记一行效果。"""
        return await (self.mail if attempt.type == EMAIL_SEND.name else self.effects)(attempt)

    async def submit(self, *submissions: Submission[Any]) -> list[UUID]:
        async with self.pipeline.pool.connection() as connection:
            outcomes = await accept_many(connection, submissions, MAX_ATTEMPTS)
        return [outcome.task_id for outcome in outcomes if not isinstance(outcome, Exception)]

    async def idle(self) -> bool:
        try:
            return await self.pipeline.sql(DONE) == [(0,)]
        except PASSING_ERRORS:
            return False

    async def is_up(self) -> bool:
        try:
            await self.pipeline.sql("select 1")
        except PASSING_ERRORS:
            return False
        return True

    async def taken(self) -> set[bytes]:
        """worker 拿在手里的投递。"""
        return (await in_redis.taken(self.pipeline.queues, [Priority.DEFAULT]))[Priority.DEFAULT]

    async def mirrored(self) -> bool:
        """最近一次交出已抄到 Redis。"""
        ((watermark,),) = await self.pipeline.sql("select greatest(since, forwarded_at) from tb_broker")
        mark = Mark.read(await self.pipeline.redis.get(keys.WATERMARK), await self.pipeline.seal())
        return mark is not None and mark.watermark == watermark

    async def work_until_idle(self) -> None:
        async with relaying(self.pipeline), self.pipeline.working(self):
            await eventually(self.idle)
            await eventually(self.mirrored)

    async def statuses(self, *task_ids: UUID) -> list[str | None]:
        found = dict(await self.pipeline.sql("select id, status from vw_task"))
        return [found.get(task_id) for task_id in task_ids]

    def cuts(self) -> int:
        return int(self.pipeline.metrics.registry.get_sample_value("kaguan_history_cuts_total") or 0)

    def sent(self, task_id: UUID) -> int:
        return sum(f"<{task_id}@".encode() in mail.content for mail in self.server.mails)


def sync() -> Submission[Any]:
    return Submission(SIM_STATUS_SYNC, SimStatusPayload(iccids=("89860000000000000001",)))


def mail(request_id: str | None = None) -> Submission[Any]:
    return Submission(EMAIL_SEND, mail_to("a@x.example"), request_id=request_id)


@asynccontextmanager
async def scene(environ: dict[str, str]) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        server, process = await stack.enter_async_context(own_postgres(directory))
        valkey, _ = await stack.enter_async_context(own_valkey(directory))
        own = {"KAGUAN_DATABASE__URL": server.url, "KAGUAN_REDIS__URL": valkey.url}
        settings = load_settings({**environ, **QUICK, **own, "KAGUAN_WORKER__LEASE": "3"})
        pool = await stack.enter_async_context(open_pool(settings.database, "test"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        smtp = await stack.enter_async_context(smtp_server())
        mailer = await stack.enter_async_context(open_mailer(config_for(smtp.url)))
        await pipeline.sql(EFFECT_TABLE)
        yield Scene(pipeline, Cutting(server, process), smtp, EmailHandler(mailer, SENDER), Effects())


@pytest.mark.parametrize("kind", [Cut.SET_BACK, Cut.PROMOTED])
@pytest.mark.parametrize("first", ["relay", "worker"])
async def test_the_lost_tail_is_told_and_nothing_is_sent_or_done_twice(
    environ: dict[str, str], kind: Cut, first: str
) -> None:
    async with scene(environ) as here:
        await here.submit(mail())
        await here.work_until_idle()
        sent, done = await here.submit(mail(), sync())
        await here.cutting.save()
        await eventually(here.is_up)
        (accepted,) = await here.submit(mail("told-2xx"))
        await here.work_until_idle()  # 尾巴：寄出两封，做完一个
        (waiting,) = await here.submit(mail("in-redis"))
        await here.pipeline.forwarder.run_once()
        await here.cutting.cut(kind)
        await eventually(here.is_up)
        assert await here.statuses(sent, done, accepted, waiting) == ["pending", "pending", None, None]
        async with AsyncExitStack() as stack:
            if first == "worker":
                await stack.enter_async_context(here.pipeline.working(here))
                await eventually(here.taken)
                assert await here.statuses(sent, done) == ["pending", "pending"]
                await stack.enter_async_context(relaying(here.pipeline))
            else:
                await stack.enter_async_context(relaying(here.pipeline))
                await eventually(lambda: here.cuts() == 1)
                await stack.enter_async_context(here.pipeline.working(here))
            await eventually(here.idle)
            await eventually(lambda: here.pipeline.sql("select count(*) from tb_vanished having count(*) = 2"))
        assert await here.statuses(sent, done) == ["uncertain", "succeeded"]
        assert [here.sent(one) for one in (sent, accepted, waiting)] == [1, 1, 0]
        assert await here.pipeline.sql("select count(*) from fault_effect where task_id = %s", done) == [(1,)]
        named = await here.pipeline.sql("select task_id, type, request_id from tb_vanished order by task_id")
        called = f"{EMAIL_SEND.name}|{SIM_CHANGE.name}"  # Redis 里只记着有过一笔外部调用，是哪一种没有记
        assert named == [(accepted, called, None), (waiting, EMAIL_SEND.name, "in-redis")]


async def test_with_redis_wiped_too_every_due_mail_waits_for_a_person(environ: dict[str, str]) -> None:
    async with scene(environ) as here:
        sent, done = await here.submit(mail(), sync())
        await here.pipeline.epoch.run_once()
        await here.cutting.save()
        await eventually(here.is_up)
        await here.work_until_idle()
        await here.pipeline.redis.flushall()
        await here.cutting.cut(Cut.PROMOTED)
        await eventually(here.is_up)
        await here.work_until_idle()
        assert await here.statuses(sent, done) == ["uncertain", "succeeded"]
        assert here.sent(sent) == 1


async def test_a_switch_that_lost_nothing_puts_nobody_in_doubt(environ: dict[str, str]) -> None:
    async with scene(environ) as here:
        sent, done = await here.submit(mail(), sync())
        await here.work_until_idle()
        here.server.script.mail = "451 later"
        (deferred,) = await here.submit(mail())
        (waiting,) = await here.submit(sync())
        await here.pipeline.forwarder.run_once()
        await here.pipeline.execution(here)({}, deliveries=[(str(deferred), 1)])
        assert await here.statuses(deferred) == ["retrying"]
        here.server.script.mail = "250 ok"
        await here.cutting.cut(Cut.NOTHING_LOST)
        await eventually(here.is_up)
        await here.work_until_idle()
        assert await here.statuses(sent, done, deferred, waiting) == ["succeeded"] * 4
        assert [here.sent(one) for one in (sent, deferred)] == [1, 1]
        assert here.cuts() == 1
