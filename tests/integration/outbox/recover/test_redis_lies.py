"""Redis 可以说谎：抄在里面的水位与外部调用没有我们的印、来自将来，都动不了记录；它不在，也不挡着平常的重启。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from redis.exceptions import RedisError

from kaguan.breakers.board import BreakerKind
from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.operate import decisions
from kaguan.outbox.recover import gate
from kaguan.outbox.recover.gate import Mark
from kaguan.outbox.work import waiting
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome, Snooze
from kaguan.queues import keys
from kaguan.queues.client import Client, open_redis
from kaguan.words.reasons import Reason
from tests.support.history import CUT, KEEP, PROMOTE
from tests.support.pipeline import Pipeline, carried_by, open_pipeline
from tests.support.places import own_port
from tests.support.said import capture_logs

RESTART = "update tb_broker set incarnation = '-infinity'"  # 就像换了一次启动
NEVER = "9999-12-31T00:00:00+00:00"


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    """认过历史的一条流水线。"""
    settings = load_settings({**environ, "KAGUAN_RELAY__PRESENCE_AGE": "0.000001"})
    async with open_pipeline(settings, pool) as opened:
        await opened.epoch.run_once()
        await opened.epoch.run_once()
        yield opened


async def statuses(pipeline: Pipeline) -> list[str]:
    return [status for (status,) in await pipeline.sql("select status from vw_task order by id")]


async def cancelled(pipeline: Pipeline, task_id: UUID) -> None:
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.cancel(connection, task_id, "ops")


async def cuts(pipeline: Pipeline) -> float | None:
    return pipeline.metrics.registry.get_sample_value("kaguan_history_cuts_total")


async def test_forged_calls_and_a_forged_watermark_change_nothing(pipeline: Pipeline) -> None:
    """只有 Redis 的凭据：水位里的号抄得来，印盖不出；哪怕投递号大得加不了一。"""
    waiting, dropped, sealed = await pipeline.submit(3, schedule_at=None)
    await cancelled(pipeline, dropped)
    [(lineage, before)] = await pipeline.sql("select lineage, greatest(since, forwarded_at) from tb_broker")
    for delivery in (5, 2**31 - 1, 10**30, -1):
        await pipeline.redis.zadd(keys.CALLS, {f"{task}:{delivery}": 1.0 for task in (waiting, dropped)})
    seal = await pipeline.seal()
    await pipeline.redis.zadd(keys.CALLS, {seal.put(keys.CALLS, f"{sealed}:{2**31 - 1}"): 1.0})
    for forged in (f"{lineage} {NEVER}", f"{lineage} {NEVER} {'0' * 32}", seal.put(keys.CALLS, f"{lineage} {NEVER}")):
        await pipeline.redis.set(keys.WATERMARK, forged)
        with capture_logs() as logs:
            await pipeline.epoch.run_once()
        assert [one["key"] for one in logs if one["log_level"] == "warning"] == [keys.WATERMARK]
    assert await statuses(pipeline) == ["pending", "cancelled", "pending"]
    assert await pipeline.sql("select greatest(since, forwarded_at) from tb_broker") == [(before,)]
    assert await cuts(pipeline) == 0
    # 真的断了：没有印的、加不了一的一个也不算，核对做得完
    await pipeline.sql(PROMOTE)
    await pipeline.epoch.run_once()
    assert await statuses(pipeline) == ["pending", "cancelled", "pending"]
    assert await cuts(pipeline) == 1


async def test_a_watermark_beyond_the_clock_of_postgresql_is_refused_and_one_in_the_record_is_brought_back(
    pipeline: Pipeline,
) -> None:
    """盖了印的也不行：水位在将来，往后真的退回去就看不出了。"""
    [(lineage, now)] = await pipeline.sql("select lineage, clock_timestamp() from tb_broker")
    seal = await pipeline.seal()
    await pipeline.redis.set(keys.WATERMARK, Mark(lineage, now + timedelta(minutes=1)).sealed(seal))
    await pipeline.epoch.run_once()
    assert await cuts(pipeline) == 0
    await pipeline.sql("update tb_broker set forwarded_at = '9999-12-31', incarnation = '-infinity'")
    await pipeline.redis.delete(keys.WATERMARK)
    await pipeline.epoch.run_once()
    assert await pipeline.sql("select forwarded_at < clock_timestamp() + interval '11 s' from tb_broker") == [(True,)]


async def test_a_cancelled_task_stays_cancelled_whatever_redis_has_noted(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await cancelled(pipeline, task_id)
    await pipeline.note((task_id, 5))
    await pipeline.sql(PROMOTE)
    await pipeline.epoch.run_once()
    assert await statuses(pipeline) == ["cancelled"]


class Sending:
    """记意向、寄出。"""

    def __init__(self) -> None:
        self.sent: list[int] = []

    async def __call__(self, attempt: Attempt) -> Outcome:
        async with attempt.transaction() as connection:
            await attempt.declare_intent(connection)
        self.sent.append(attempt.delivery)
        return Done({})


async def away(attempt: Attempt) -> Outcome:
    return Snooze(Reason("mail.waiting", {"replies": [attempt.attempt]}), None, 1800.0, BreakerKind.SMTP)


async def delivered(pipeline: Pipeline, sending: Sending, task_id: UUID) -> None:
    """外面恢复，叫回来，交出，做。"""
    async with pipeline.pool.connection() as connection:
        await waiting.recall(connection, BreakerKind.SMTP, room=10, near=30.0, spread=0.0)
    await pipeline.forwarder.run_once()
    task = await pipeline.task(task_id)
    await pipeline.execution(sending)({}, deliveries=[(str(task_id), task.delivery)])


@pytest.mark.unjudged("表退回去过")
@pytest.mark.parametrize("redis_too", [False, True], ids=["the notes survive", "Redis lost them too"])
async def test_a_mail_called_back_after_an_outage_and_sent_in_the_lost_tail_is_in_doubt(
    pipeline: Pipeline, *, redis_too: bool
) -> None:
    (task_id,) = await pipeline.submit()
    sending = Sending()
    await pipeline.forwarder.run_once()
    await pipeline.execution(away)({}, deliveries=[(str(task_id), 1)])
    await pipeline.epoch.run_once()
    await pipeline.sql(KEEP.decode())
    await delivered(pipeline, sending, task_id)
    assert len(sending.sent) == 1
    await pipeline.sql(CUT.decode())
    await pipeline.sql(PROMOTE)
    if redis_too:
        await pipeline.redis.flushdb()
    await pipeline.epoch.run_once()
    assert await statuses(pipeline) == ["uncertain"]


@pytest.mark.unjudged("表退回去过")
async def test_a_mail_handed_over_by_a_clock_that_was_ahead_is_in_doubt(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    sending = Sending()
    await pipeline.forwarder.run_once()
    await pipeline.sql("update tb_task set available_at = available_at + interval '5 s'")
    await pipeline.sql("update tb_work set queued_at = queued_at + interval '5 s'")
    await pipeline.sql(KEEP.decode())
    await pipeline.execution(sending)({}, deliveries=[(str(task_id), 1)])
    await pipeline.sql(CUT.decode())
    await pipeline.sql(PROMOTE)
    await pipeline.redis.flushdb()
    await pipeline.epoch.run_once()
    assert sending.sent == [1]
    assert await statuses(pipeline) == ["uncertain"]


async def alone(pipeline: Pipeline) -> bool:
    """Redis 不在时 relay 看一眼；门开着没有。"""
    nowhere = load_settings({"KAGUAN_REDIS__URL": f"redis://127.0.0.1:{own_port()}/0"})
    async with open_redis(nowhere.redis) as dead:
        with pytest.raises(RedisError):
            await replace(pipeline.epoch, redis=dead).run_once()
    async with pipeline.pool.connection() as connection:
        return await gate.gate_is_open(connection)


async def test_a_plain_restart_of_postgresql_while_redis_is_away_opens_the_gate(pipeline: Pipeline) -> None:
    await pipeline.sql(RESTART)
    assert await alone(pipeline)
    (task_id,) = await pipeline.submit()
    await cancelled(pipeline, task_id)  # 人的要求有人答


@pytest.mark.parametrize(
    "cut",
    [
        PROMOTE,
        "update tb_broker set incarnation = '-infinity', since = since - interval '1 h', forwarded_at = null",
    ],
    ids=["promoted", "set back"],
)
async def test_a_cut_while_redis_is_away_waits_for_it(pipeline: Pipeline, cut: str) -> None:
    await pipeline.sql(cut)
    assert not await alone(pipeline)
    await pipeline.epoch.run_once()
    async with pipeline.pool.connection() as connection:
        assert await gate.gate_is_open(connection)
    assert await cuts(pipeline) == 1


@pytest.mark.parametrize("garbage", [b"garbage", b"\xff", b"nan", b"-1", b"1e400", b"9" * 5_000, b"[1]"])
async def test_a_pace_that_nobody_measured_is_as_good_as_none(pipeline: Pipeline, garbage: bytes) -> None:
    await pipeline.redis.set(keys.PACE.format(EMAIL_SEND.name), garbage)
    waiting = await pipeline.submit(2)  # 一个人走，不看步速
    assert await pipeline.forwarder.run_once() == 2
    assert {await pipeline.status(task_id) for task_id in waiting} == {"queued"}
    assert [len(carried_by(job)) for job in await pipeline.jobs()] == [1, 1]
    assert isinstance(pipeline.redis, Client)
    assert pipeline.redis.refused[keys.PACE] > 0
