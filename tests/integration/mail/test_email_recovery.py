"""中继主机停摆时信怎样等、恢复之后怎样回来：看得见、不空跑，恢复即来、不一拥而上。钟由用例拨：等一小时的，没人叫就回不来。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from kaguan.breakers.board import BreakerBoard, BreakerKind, open_breakers
from kaguan.breakers.breaker import HALF_OPENED, OPENED, BreakerStatus
from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool
from kaguan.mail.recall import FIRST_ROOM, NEAR, Recall
from kaguan.mail.task import EMAIL_SEND
from kaguan.mail.waiting import WaitingMetrics
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.operate import decisions
from kaguan.outbox.operate import record as store
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import drain
from kaguan.outbox.work.attempt import Handler
from kaguan.words.reasons import Reason
from tests.support.eventually import eventually
from tests.support.mail_tasks import SENDER, config_for
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.places import own_port
from tests.support.smtp_server import SmtpServer, smtp_server
from workers.email.handler import EmailHandler
from workers.email.transport import TICK, Mailer, open_mailer
from workers.metrics import BREAKER_STATES
from workers.registry import open_handlers

PER_SECOND = 20
OFTEN = (0.01, 0.02)  # 秒；多久看一次要不要试探
WAITING = "select count(*)::int from tb_outbox where waiting_for is not null"
RECALLED = "select task_id from tb_outbox where available_at < clock_timestamp() + interval '1 minute'"
AN_HOUR = "update tb_outbox set available_at = clock_timestamp() + interval '1 hour'"


@dataclass
class Stage:
    """一台停着的中继主机，两个进程各一个通道；一封信已经败过，两个断路器都断开着，叫 ``board`` 写才写出来。"""

    pipeline: Pipeline
    server: SmtpServer
    board: BreakerBoard
    mailers: list[Mailer]
    handlers: list[EmailHandler]

    def recall(self, pace: float = 0.0) -> Recall:
        return Recall(self.pipeline.pool, self.pipeline.redis, BreakerKind.SMTP, PER_SECOND, pace)

    async def waiting_for_an_hour(self, count: int) -> list[UUID]:
        """``count`` 封信试过、在等，下一趟都在一小时之后。"""
        task_ids = await self.pipeline.submit(count)
        for handler in self.handlers:
            await drain(
                self.pipeline.pool, {EMAIL_SEND: handler}, self.pipeline.settings.tasks, self.pipeline.settings.worker
            )
        await self.pipeline.sql(AN_HOUR)
        assert await self.pipeline.sql(WAITING) == [(count,)]
        return task_ids

    async def recalled(self) -> int:
        return len(await self.pipeline.sql(RECALLED))

    async def handed_over(self) -> None:
        await self.pipeline.sql("delete from tb_outbox where available_at < clock_timestamp() + interval '1 minute'")


@asynccontextmanager
async def staged(
    settings: Settings, pool: Pool, cooldown: float = 3_600.0, tick: tuple[float, float] = TICK
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        server = await stack.enter_async_context(smtp_server())
        server.script.greeting = "421 4.3.2 shutting down"
        board = BreakerBoard(pipeline.redis)
        config = config_for(server.url, breaker_failures=1, breaker_cooldown=cooldown)
        mailers = [await stack.enter_async_context(open_mailer(config, tick=tick)) for _ in range(2)]
        for mailer in mailers:
            mailer.watch_breaker(lambda name, status: board.changed(BreakerKind.SMTP, name, status))
        yield Stage(pipeline, server, board, mailers, [EmailHandler(mailer, SENDER) for mailer in mailers])


@pytest.fixture
async def stage(settings: Settings, pool: Pool) -> AsyncIterator[Stage]:
    async with staged(settings, pool) as opened:
        yield opened


async def test_a_mail_says_what_it_waits_for_since_when_and_until_when_in_one_event(stage: Stage) -> None:
    [task_id] = await stage.pipeline.submit()
    [handler, _] = stage.handlers
    said: list[dict[str, Any]] = []
    for _ in range(5):
        await drain(
            stage.pipeline.pool, {EMAIL_SEND: handler}, stage.pipeline.settings.tasks, stage.pipeline.settings.worker
        )
        async with stage.pipeline.pool.connection() as connection:
            task, events = await store.find(connection, task_id), await store.events(connection, task_id)
        assert task is not None
        assert (task.status, task.attempt) == ("retrying", 0)
        said.append(timeline(task, events)[-1])
        assert [(event.kind, event.detail["reason"]) for event in events] == [
            ("interrupted", "等中继主机恢复（421 × 1：中继不接待：4.3.2 shutting down）")
        ]
        await stage.pipeline.sql("update tb_outbox set available_at = clock_timestamp()")
    assert {one["stage"] for one in said} == {"next_attempt"}
    assert {one["waiting_for"] for one in said} == {"smtp"}
    assert len({one["since"] for one in said}) == 1
    assert [one["at"] for one in said] == sorted({one["at"] for one in said})
    assert all("等中继主机恢复" in one["reason"] for one in said)


async def test_how_many_wait_and_how_long_the_oldest_is_measured_and_falls_to_nothing(stage: Stage) -> None:
    await stage.waiting_for_an_hour(7)
    await stage.pipeline.sql("update tb_outbox set waiting_since = waiting_since - interval '2 hours'")
    registry = CollectorRegistry()
    mails = WaitingMetrics(registry)

    async def sampled() -> tuple[float | None, float | None]:
        await mails.publish(stage.pipeline.pool)
        sample = registry.get_sample_value
        return sample("kaguan_smtp_waiting_mails"), sample("kaguan_smtp_oldest_wait_seconds")

    waiting, oldest = await sampled()
    assert waiting == 7
    assert oldest is not None
    assert oldest > 7_200
    await stage.pipeline.sql("delete from tb_outbox")
    assert await sampled() == (0, 0)


async def test_nobody_is_recalled_while_a_breaker_is_open_anywhere(stage: Stage) -> None:
    await stage.waiting_for_an_hour(10)
    recall = stage.recall()
    await stage.board.run_once()
    assert await recall.run_once() == 0
    other = BreakerBoard(stage.pipeline.redis)
    other.changed(BreakerKind.CARRIER, "onelink", BreakerStatus(OPENED, datetime.now(UTC), Reason.of("x")))
    await other.run_once()
    await stage.pipeline.redis.flushdb()
    await other.run_once()
    assert await recall.run_once() == FIRST_ROOM, "断开的是运营商，与信无关"
    await stage.board.run_once()
    assert await recall.run_once() == 0


async def test_the_oldest_come_back_first_in_waves_that_grow_and_never_outrun_what_is_handed_over(
    stage: Stage,
) -> None:
    mails = await stage.waiting_for_an_hour(60)
    for position, task_id in enumerate(reversed(mails)):
        await stage.pipeline.sql(
            "update tb_outbox set waiting_since = '2026-01-01'::timestamptz + make_interval(secs => %s)"
            " where task_id = %s",
            position,
            task_id,
        )
    recall = stage.recall()
    assert await recall.run_once() == FIRST_ROOM
    assert {row[0] for row in await stage.pipeline.sql(RECALLED)} == set(mails[-FIRST_ROOM:])
    assert await recall.run_once() == FIRST_ROOM, "前一波还没交出，只补到这一波的数"
    assert await stage.recalled() == 2 * FIRST_ROOM
    await stage.handed_over()
    waves = []
    while await stage.pipeline.sql(WAITING) != [(0,)]:
        waves.append(await recall.run_once())
        assert await stage.recalled() <= PER_SECOND
        await stage.handed_over()
    assert waves == [20, 20, 10]


async def test_a_recall_follows_the_task_and_leaves_alone_what_is_soon_due_cancelled_or_parked(stage: Stage) -> None:
    mails = await stage.waiting_for_an_hour(4)
    soon, cancelled, parked, plain = mails
    await stage.pipeline.sql(
        "update tb_outbox set available_at = clock_timestamp() + make_interval(secs => %s) where task_id = %s",
        NEAR / 2,
        soon,
    )
    await stage.pipeline.sql(
        "update tb_outbox set parked_at = clock_timestamp(), parked_reason = 'x' where task_id = %s", parked
    )
    async with stage.pipeline.pool.connection() as connection, connection.transaction():
        await decisions.cancel(connection, cancelled, "tester")
    before = await stage.pipeline.sql("select task_id, available_at from tb_outbox where task_id <> %s", plain)
    assert await stage.recall().run_once() == 1
    assert await stage.pipeline.sql("select task_id, available_at from tb_outbox where task_id <> %s", plain) == before
    [(of_row, of_task)] = await stage.pipeline.sql(
        "select o.available_at, t.available_at from tb_outbox o join vw_task t on t.id = o.task_id where t.id = %s",
        plain,
    )
    assert of_row == of_task
    assert (of_row - datetime.now(UTC)).total_seconds() < NEAR


async def test_when_the_relay_host_is_back_the_backlog_flows_by_itself_each_mail_once(
    settings: Settings, pool: Pool
) -> None:
    async with staged(settings, pool, cooldown=0.2, tick=OFTEN) as stage, stage.board.publishing():
        mails = await stage.waiting_for_an_hour(30)
        pipeline, recall = stage.pipeline, stage.recall(pace=0.05)
        turn = iter(range(10**6))

        async def either(attempt: Any) -> Any:
            return await stage.handlers[next(turn) % 2](attempt)

        async def step() -> str:
            await recall.run_once()
            await pipeline.forwarder.run_once()
            [(statuses,)] = await pipeline.sql("select string_agg(distinct status || attempt, ' ') from vw_task")
            return str(statuses)

        async with pipeline.working(either):
            probed = stage.server.connections

            async def tried_again() -> bool:
                await step()
                return stage.server.connections > probed + 10

            await eventually(tried_again)
            stage.server.script.greeting = "220 test ESMTP"
            await pipeline.sql(f"{AN_HOUR} where available_at > clock_timestamp() + interval '2 s'")

            async def flowed() -> bool:
                return await step() == "succeeded1"

            await eventually(flowed)
        assert await pipeline.sql("select count(*)::int from tb_task_event") == [(30,)]
    contents = [mail.content for mail in stage.server.mails]
    assert all(sum(f"<{task_id}@".encode() in content for content in contents) == 1 for task_id in mails)
    assert len(contents) == 30
    assert stage.server.most_open <= 2 * config_for("smtp://x").connections


async def test_half_open_breakers_call_one_wave_back_and_no_more_until_they_were_open_again(stage: Stage) -> None:
    await stage.waiting_for_an_hour(50)
    board, recall = BreakerBoard(stage.pipeline.redis), stage.recall()

    async def told(state: str) -> int:
        board.changed(BreakerKind.SMTP, "x:25", BreakerStatus(state, datetime.now(UTC), Reason.of("x")))
        await board.run_once()
        recalled = await recall.run_once()
        await stage.handed_over()
        return recalled

    states = [HALF_OPENED, HALF_OPENED, OPENED, HALF_OPENED, HALF_OPENED]
    assert [await told(state) for state in states] == [FIRST_ROOM, 0, 0, FIRST_ROOM, 0]


async def test_a_relay_host_that_greets_but_takes_nothing_is_tried_with_few_mails_until_it_takes_one(
    settings: Settings, pool: Pool
) -> None:
    async with staged(settings, pool, cooldown=0.5, tick=OFTEN) as stage, stage.board.publishing():
        stage.server.script.greeting, stage.server.script.mail = "220 test ESMTP", "421 4.3.2 closing"
        await stage.waiting_for_an_hour(15)
        pipeline, recall = stage.pipeline, stage.recall(pace=0.01)
        handler = stage.handlers[0]

        async def step() -> int:
            await recall.run_once()
            await drain(pipeline.pool, {EMAIL_SEND: handler}, settings.tasks, settings.worker)
            [(succeeded,)] = await pipeline.sql("select count(*)::int from vw_task where status = 'succeeded'")
            return int(succeeded)

        async def tried_often() -> bool:
            assert await step() == 0
            await pipeline.sql(f"{AN_HOUR} where available_at > clock_timestamp() + interval '5 s'")
            return stage.server.commands.count("MAIL") > 8

        await eventually(tried_often)
        assert await pipeline.sql("select max(attempt) from vw_task") == [(0,)]
        stage.server.script.mail = "250 ok"

        async def flowed() -> bool:
            return await step() == 15

        await eventually(flowed)
    assert len(stage.server.mails) == 15


async def test_the_state_of_the_relay_host_is_told_to_the_metrics_and_to_the_other_processes(
    environ: dict[str, str], pool: Pool, redis_url: str
) -> None:
    address = f"127.0.0.1:{own_port()}"
    settings = load_settings({**environ, "KAGUAN_SMTP__URL": f"smtp://{address}", "KAGUAN_SMTP__BREAKER_FAILURES": "1"})
    metrics = Metrics()
    sample = metrics.registry.get_sample_value
    labels = {"kind": "smtp", "name": address}
    async with Redis.from_url(redis_url) as redis, open_pipeline(settings, pool) as pipeline:
        async with open_handlers(settings, redis, metrics, TaskTypes([EMAIL_SEND])) as handlers:
            assert sample("kaguan_breaker_state", labels) == BREAKER_STATES["closed"]
            assert sample("kaguan_smtp_outage_deferrals_total", {"reason": "connect"}) == 0
            email: Handler[Any] = handlers[EMAIL_SEND]
            await pipeline.submit(2)
            await drain(pool, {EMAIL_SEND: email}, settings.tasks, settings.worker)
            assert sample("kaguan_breaker_state", labels) == BREAKER_STATES["opened"]
            assert sample("kaguan_smtp_outage_deferrals_total", {"reason": "connect"}) == 1
            assert sample("kaguan_smtp_outage_deferrals_total", {"reason": "open"}) == 1
            [told] = await eventually(lambda: open_breakers(redis))
            assert (told.kind, told.name, told.state, str(told.cause)) == (
                "smtp",
                address,
                OPENED,
                "连不上中继：连接被拒绝",
            )
        assert await open_breakers(redis) == []
