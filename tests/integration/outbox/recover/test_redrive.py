"""重投：租约、纪元、核对、兜底；旧的持有者醒来什么也改不了。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from api.console.task import attempts
from kaguan.config import load_settings
from kaguan.database.connecting import Connection
from kaguan.database.pool import Pool, open_pool
from kaguan.outbox.deliver.aside import UnknownSince
from kaguan.outbox.operate import record
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.recover.store import redrive
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work import claiming
from kaguan.outbox.work.fence import Token
from kaguan.outbox.work.leases import heartbeat
from kaguan.outbox.work.outcome import Done, Retry
from kaguan.queues.keys import delivery_key
from tests.chaos.proxy import Proxy
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import port_of, through
from tests.support.pipeline import Held, Pipeline, open_pipeline, write_event
from tests.support.said import capture_logs

REDRIVES = ("队列忘了任务，重投", "重投 Redis 不认得的任务", "补上缺失的发件箱行", "收回任务，重投")


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    """核对的等待为零，重投因此不用等。"""
    settings = load_settings({**environ, "KAGUAN_RELAY__PRESENCE_AGE": "0.000001"})
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def start_zombie(pipeline: Pipeline, handler: Held, task_id: UUID, delivery: int = 1) -> asyncio.Task[None]:
    """一个认领了任务、然后租约到期的执行者。"""
    await pipeline.forwarder.run_once()
    job = asyncio.create_task(pipeline.execution(handler, "zombie")({}, deliveries=[(str(task_id), delivery)]))
    await handler.started.wait()
    await pipeline.sql("update tb_work set lease_until = now() - interval '1 second' where task_id = %s", task_id)
    return job


async def test_expired_lease_gives_the_task_to_another_and_the_zombie_changes_nothing(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    zombie = Held(Done({"by": "zombie"}, effect=write_event))
    job = await start_zombie(pipeline, zombie, task_id)
    assert await pipeline.leases_redrive.run_once() == 1
    await pipeline.forwarder.run_once()
    await pipeline.execution(Recorder([Done({"by": "heir"})]))({}, deliveries=[(str(task_id), 2)])
    zombie.released.set()
    await job
    record = await pipeline.task(task_id)
    assert (record.status, record.result, record.attempt) == ("succeeded", {"by": "heir"}, 1)
    assert await pipeline.sql("select count(*) from tb_sim_event") == [(0,)]
    kinds = [row[0] for row in await pipeline.sql("select kind from tb_task_event order by id")]
    assert kinds == ["redriven", "fenced"]


async def test_the_run_that_was_lost_is_told_with_its_own_numbers_and_listed_as_lost(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    job = await start_zombie(pipeline, zombie := Held(Done({})), task_id)
    await pipeline.leases_redrive.run_once()
    await pipeline.forwarder.run_once()
    await pipeline.execution(Recorder([Done({})]))({}, deliveries=[(str(task_id), 2)])
    zombie.released.set()
    await job
    task = await pipeline.task(task_id)
    async with pipeline.pool.connection() as connection:
        events = await record.events(connection, task_id)
    told = [(stage["stage"], stage.get("attempt"), stage.get("delivery")) for stage in timeline(task, events)]
    again = [("queued", None, None), ("started", None, None), ("succeeded", None, None), ("fenced", 1, 1)]
    assert told == [("accepted", None, None), ("queued", None, None), ("started", 1, 1), ("redriven", 1, 1), *again]
    assert [(line.number, line.kind) for line in attempts(task, events)] == [(1, "lost"), (1, "succeeded")]


async def test_a_job_that_was_never_begun_is_no_attempt_that_was_lost(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.execution(Recorder([Retry("暂时")]))({}, deliveries=[(str(task_id), 1)])
    await pipeline.sql("update tb_outbox set available_at = now()")
    await pipeline.forwarder.run_once()
    async with pipeline.pool.connection() as connection:
        assert await redrive(connection, [(task_id, 2)], "queue_forgot") == 1
        events = await record.events(connection, task_id)
    assert [line.kind for line in attempts(await pipeline.task(task_id), events)] == ["attempt_failed"]


async def test_zombie_that_wakes_while_the_heir_is_running_changes_nothing(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    zombie, heir = (Held(Done(effect=write_event)) for _ in range(2))
    job = await start_zombie(pipeline, zombie, task_id)
    await pipeline.leases_redrive.run_once()
    await pipeline.forwarder.run_once()
    other = asyncio.create_task(pipeline.execution(heir, "heir")({}, deliveries=[(str(task_id), 2)]))
    await heir.started.wait()
    zombie.released.set()
    await job
    assert await pipeline.status(task_id) == "running"
    heir.released.set()
    await other
    assert await pipeline.status(task_id) == "succeeded"
    assert await pipeline.sql("select count(*) from tb_sim_event") == [(1,)]


async def test_heartbeat_renews_leases_and_tells_the_handler_when_one_is_lost(pipeline: Pipeline) -> None:
    kept, lost = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    handler = Held()
    execution = pipeline.execution(handler, "worker-a")
    jobs = [asyncio.create_task(execution({}, deliveries=[(str(i), 1)])) for i in (kept, lost)]

    async def both_running() -> bool:
        return await pipeline.sql("select count(*) from vw_task where status = 'running'") == [(2,)]

    await eventually(both_running)
    await pipeline.sql("update tb_work set lease_until = now() - interval '1 second' where task_id = %s", lost)
    await pipeline.leases_redrive.run_once()
    await pipeline.sql("update tb_work set lease_until = now() + interval '1 second' where task_id = %s", kept)
    await execution.leases.run_once()
    renewed = await pipeline.sql("select lease_until > now() + interval '5 seconds' from vw_task where id = %s", kept)
    assert renewed == [(True,)]
    assert {attempt.task_id: attempt.lost.is_set() for attempt in handler.attempts} == {kept: False, lost: True}
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


async def test_worker_that_dies_around_an_unrepeatable_call_leaves_the_task_uncertain(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    job = await start_zombie(pipeline, Held(intend=True), task_id)
    await pipeline.leases_redrive.run_once()
    assert await pipeline.status(task_id) == "uncertain"
    assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]
    # 谁死的，时间线说得出
    [(kind, worker)] = await pipeline.sql("select kind, worker from tb_task_event where task_id = %s", task_id)
    assert (kind, worker) == ("uncertain", "zombie")
    assert counted(pipeline) == {"uncertain": 1, "settled/uncertain": 1, "leases_lost": 1}
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


def counted(pipeline: Pipeline) -> dict[str, float]:
    """relay 收回任务时动过的计数。"""
    value = pipeline.metrics.registry.get_sample_value
    mail = {"type": "email:send"}
    counts = {
        "uncertain": value("kaguan_tasks_uncertain_total", mail),
        "leases_lost": value("kaguan_leases_lost_total"),
        "redriven": value("kaguan_tasks_redriven_total", {"cause": "lease_expired"}),
        **{
            f"settled/{outcome}": value("kaguan_tasks_settled_total", {**mail, "queue": "default", "outcome": outcome})
            for outcome in ("failed", "uncertain", "cancelled")
        },
    }
    return {name: count for name, count in counts.items() if count}


async def test_cancel_that_no_worker_lived_to_carry_out_is_counted_as_settled(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    job = await start_zombie(pipeline, Held(), task_id)
    await pipeline.sql("update tb_task set cancel_requested_at = now() where id = %s", task_id)
    await pipeline.leases_redrive.run_once()
    assert await pipeline.status(task_id) == "cancelled"
    assert counted(pipeline) == {"settled/cancelled": 1, "leases_lost": 1}
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)


async def test_stopping_worker_hands_back_at_once_and_the_attempt_is_not_counted(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    handler = Held()
    execution = pipeline.execution(handler)
    job = asyncio.create_task(execution({}, deliveries=[(str(task_id), 1)]))
    await handler.started.wait()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    assert await execution.leases.release_all() == 1
    assert await pipeline.leases_redrive.run_once() == 1
    record = await pipeline.task(task_id)
    assert (record.status, record.attempt, record.lost_leases) == ("pending", 0, 0)


async def test_task_that_keeps_killing_its_worker_is_parked_and_others_flow(pipeline: Pipeline) -> None:
    poison, healthy = await pipeline.submit(2)
    limit = pipeline.settings.relay.max_deliveries_without_result
    for delivery in range(1, limit + 1):
        await pipeline.forwarder.run_once()
        async with pipeline.pool.connection() as connection:
            token = Token(poison, delivery, uuid4())
            assert all(await claiming.claim(connection, [(token, None)], worker="doomed", lease=0.000001))
        await pipeline.leases_redrive.run_once()
        await pipeline.come_due()
    assert await pipeline.status(poison) == "failed"
    assert counted(pipeline) == {"settled/failed": 1, "leases_lost": limit, "redriven": limit - 1}
    await pipeline.execution(Recorder())({}, deliveries=[(str(healthy), 1)])
    assert await pipeline.status(healthy) == "succeeded"


async def test_after_a_stall_the_living_get_one_lease_to_renew_and_the_dead_are_taken_back(
    environ: dict[str, str], pool: Pool
) -> None:
    """库、本机或 relay 停得比租约还久：谁也续不了租，不等于持有者死了。"""
    grace = 0.5
    async with open_pipeline(load_settings(environ), pool, grace=grace) as pipeline:
        redrive = pipeline.leases_redrive
        assert await redrive.run_once() == 0
        living, dead = (Token(one, 1, uuid4()) for one in await pipeline.submit(2))
        await pipeline.forwarder.run_once()
        async with pipeline.pool.connection() as connection:
            wanted = [(living, None), (dead, None)]
            assert all(await claiming.claim(connection, wanted, worker="stalled", lease=0.000001))
        ((stalled,),) = await pipeline.sql("select clock_timestamp() + make_interval(secs => %s)", 2 * grace)

        async def has_stalled() -> bool:  # 没有人看，也没有人续租
            return await pipeline.sql("select clock_timestamp() > %s", stalled) == [(True,)]

        await eventually(has_stalled)
        assert await redrive.run_once() == 0
        async with pipeline.pool.connection() as connection:
            assert living in await heartbeat(connection, [living], 600)

        async def taken_back() -> bool:
            await redrive.run_once()
            return await pipeline.status(dead.task_id) == "pending"

        await eventually(taken_back)
        assert await pipeline.status(living.task_id) == "running"


async def test_a_look_that_hung_in_the_stall_itself_takes_nothing_from_the_living(
    environ: dict[str, str], pool: Pool
) -> None:
    """停顿时总有一眼在半路：库醒来先做的就是它，它看见的租约谁也没有机会续。"""
    grace = 0.5
    line = Proxy(port_of(environ["KAGUAN_DATABASE__URL"]))
    await line.start()
    url = through(environ["KAGUAN_DATABASE__URL"], line.target, line.port)
    settings = load_settings({**environ, "KAGUAN_DATABASE__URL": url})
    try:
        async with (
            open_pool(settings.database, "stalled") as stalling,
            open_pipeline(settings, stalling, grace=grace) as pipeline,
            pool.connection() as straight,
        ):
            redrive = pipeline.leases_redrive
            assert await redrive.run_once() == 0
            (living,) = (Token(one, 1, uuid4()) for one in await pipeline.submit())
            await pipeline.forwarder.run_once()
            assert all(await claiming.claim(straight, [(living, None)], worker="stalled", lease=0.000001))
            line.blackhole()
            looking = asyncio.create_task(redrive.run_once())
            await eventually(lambda: line.stuck)
            (over,) = await one_row(straight, f"select clock_timestamp() + interval '{2 * grace} s'")

            async def is_over() -> bool:
                return bool((await one_row(straight, "select clock_timestamp() > %s", over))[0])

            await eventually(is_over)
            line.heal()
            assert await looking == 0
            assert living in await heartbeat(straight, [living], 600)
            assert await redrive.run_once() == 0
            assert await pipeline.status(living.task_id) == "running"
    finally:
        await line.stop()


async def one_row(connection: Connection, statement: str, *parameters: object) -> tuple[Any, ...]:
    row = await (await connection.execute(statement.encode(), parameters)).fetchone()
    assert row is not None
    return row


async def test_flushed_redis_is_noticed_by_its_epoch_and_everything_comes_back(pipeline: Pipeline) -> None:
    assert await pipeline.epoch.run_once() == 0
    tasks = await pipeline.submit(50)
    await pipeline.forwarder.run_once()
    await pipeline.redis.flushdb()
    assert await pipeline.epoch.run_once() == 50
    assert await pipeline.epoch.run_once() == 0
    assert await pipeline.forwarder.run_once() == 50
    handler = Recorder()
    for task_id in tasks:
        await pipeline.execution(handler)({}, deliveries=[(str(task_id), 2)])
    assert await pipeline.sql("select status, count(*) from vw_task group by status") == [("succeeded", 50)]


async def test_a_redis_that_hides_its_history_is_taken_by_its_epoch_alone(pipeline: Pipeline, redis_url: str) -> None:
    """不许 INFO：只是少一个线索，别的照旧；许了之后只是记下，不算换了历史。"""
    await pipeline.redis.execute_command("ACL", "SETUSER", "blind", "on", ">blind", "~*", "+@all", "-info")  # type: ignore[no-untyped-call] # 没有类型
    async with Redis.from_url(f"redis://blind:blind@{redis_url.rpartition('@')[2]}") as blind:
        hidden = replace(pipeline.epoch, redis=blind)
        assert await hidden.run_once() == 0
        await pipeline.submit(2)
        await pipeline.forwarder.run_once()
        assert [await one.run_once() for one in (hidden, pipeline.epoch, hidden)] == [0, 0, 0]
        await pipeline.redis.flushdb()
        assert await hidden.run_once() == 2


async def test_job_that_saq_forgot_is_redriven_and_one_it_knows_is_not(pipeline: Pipeline) -> None:
    forgotten, known = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    queue = pipeline.queues[Priority.DEFAULT]
    await pipeline.redis.zrem(queue.namespace("incomplete"), queue.job_id(delivery_key(forgotten, 1)))
    await pipeline.presence.run_once()
    assert await pipeline.status(forgotten) == "pending"
    assert await pipeline.status(known) == "queued"


async def test_a_line_about_a_redriven_task_carries_all_its_ids(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit(principal="p", request_id="r-1")
    await pipeline.epoch.run_once()
    with capture_logs() as lines:
        await pipeline.forwarder.run_once()
        await pipeline.redis.flushdb()
        await pipeline.presence.run_once()  # Redis 忘了
        await pipeline.forwarder.run_once()
        await pipeline.redis.flushdb()
        await pipeline.epoch.run_once()  # Redis 丢了数据
        await pipeline.sql("delete from tb_outbox")
        await pipeline.sql("update tb_task set available_at = now() - interval '1 hour'")
        await pipeline.orphans.run_once()  # 发件箱里漏了
        job = await start_zombie(pipeline, zombie := Held(Done(effect=write_event)), task_id, delivery=4)
        await pipeline.leases_redrive.run_once()  # 租约到期
        zombie.released.set()
        await job
    told = [line for line in lines if line["event"] in REDRIVES]
    assert [line["event"] for line in told] == list(REDRIVES)
    assert {(line["task_id"], line["request_id"]) for line in told} == {(str(task_id), "r-1")}


async def test_a_delivery_just_taken_is_left_to_its_worker_and_one_long_unclaimed_comes_back(
    pipeline: Pipeline,
) -> None:
    """取走与认领之间总有一小会儿：等得再久的，刚被取走也不重投；取件者死了的，过了耐心才重投。"""
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.sql("update tb_work set queued_at = queued_at - interval '1 hour'")
    assert await pipeline.queues[Priority.DEFAULT].dequeue(timeout=PATIENCE) is not None
    await pipeline.presence.run_once()
    assert (await pipeline.task(task_id)).delivery == 1
    pipeline.presence.patience = 0.0
    await pipeline.presence.run_once()
    assert (await pipeline.task(task_id)).delivery == 2


async def test_what_was_handed_over_after_redis_lost_its_data_is_not_delivered_twice(pipeline: Pipeline) -> None:
    assert await pipeline.epoch.run_once() == 0
    lost = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    await pipeline.redis.flushdb()
    kept = await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    assert await pipeline.epoch.run_once() == len(lost)
    assert [(await pipeline.task(task)).delivery for task in (*lost, *kept)] == [2, 2, 1, 1]


@pytest.mark.unjudged("触发器造出已经交出的任务")
async def test_an_epoch_redrive_ends_though_relays_keep_handing_over(pipeline: Pipeline) -> None:
    """每重投一个，又有一个交出去（又丢了）：只看开始那一刻之前交出的，总有看完的时候。"""
    redrive = replace(pipeline.epoch, page=1)
    assert await redrive.run_once() == 0
    await pipeline.submit(2)
    await pipeline.forwarder.run_once()
    await pipeline.sql(
        "create function another() returns trigger language plpgsql as $$ begin"
        " with made as (insert into tb_task (id, type, queue, principal, payload, max_attempts) values"
        " (gen_random_uuid(), 'email:send', 'default', 'p', '{}', 6) returning id)"
        " insert into tb_work (task_id, delivery, priority) select id, 1, 1 from made; return new; end $$"
    )
    await pipeline.sql("create trigger another before insert on tb_outbox for each row execute function another()")
    await pipeline.redis.flushdb()
    async with asyncio.timeout(PATIENCE):
        assert 2 <= await redrive.run_once() <= 3
    assert pipeline.epoch.heard.is_set()


async def test_redrive_gives_way_to_a_completion(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.execution(Recorder())({}, deliveries=[(str(task_id), 1)])
    await pipeline.redis.flushdb()
    await pipeline.presence.run_once()
    await pipeline.epoch.run_once()
    assert await pipeline.status(task_id) == "succeeded"
    assert await pipeline.sql("select count(*) from tb_outbox") == [(0,)]


async def test_waiting_task_without_outbox_row_gets_one(pipeline: Pipeline) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.sql("delete from tb_outbox")
    assert await pipeline.orphans.run_once() == 1
    assert await pipeline.forwarder.run_once() == 1
    await pipeline.execution(Recorder())({}, deliveries=[(str(task_id), 2)])
    assert await pipeline.status(task_id) == "succeeded"


async def test_malformed_job_in_the_active_list_does_not_stop_the_rest(pipeline: Pipeline) -> None:
    queue = pipeline.queues[Priority.DEFAULT]
    await pipeline.redis.set("saq:job:default:garbage", b"{not json")
    active = queue.namespace("active")
    await pipeline.redis.lpush(active, "saq:job:default:garbage")  # type: ignore[misc] # 同步与异步混在一起
    (task_id,) = await pipeline.submit()
    await pipeline.forwarder.run_once()
    await pipeline.redis.zrem(queue.namespace("incomplete"), queue.job_id(delivery_key(task_id, 1)))
    await pipeline.presence.run_once()
    assert await pipeline.forwarder.run_once() == 1


async def test_a_type_nobody_knows_waits_for_an_upgrade_then_is_set_aside_and_others_flow(pipeline: Pipeline) -> None:
    strange, healthy = await pipeline.submit(2)
    await pipeline.sql("update tb_outbox set type = 'later:version' where task_id = %s", strange)
    assert await pipeline.forwarder.run_once() == 1
    assert (await pipeline.status(strange), await pipeline.status(healthy)) == ("pending", "queued")
    assert await pipeline.forwarder.run_once() == 0
    await pipeline.sql("update tb_outbox set available_at = clock_timestamp()")
    impatient = replace(pipeline.forwarder, unknown=UnknownSince(patience=0.0))
    assert await impatient.run_once() == 0
    assert await pipeline.status(strange) == "failed"
    (row,) = await pipeline.sql("select task_id, parked_reason from tb_outbox where parked_at is not null")
    assert row == (strange, "没有进程认得任务类型 later:version")


@pytest.mark.unjudged("意向是改出来的")
async def test_a_poison_pill_that_may_have_made_its_call_is_uncertain_and_never_called_failed(
    pipeline: Pipeline,
) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.sql("update tb_task set intent_at = now()")  # 不明之后又排着
    await pipeline.sql("update tb_outbox set type = 'later:version'")
    await replace(pipeline.forwarder, unknown=UnknownSince(patience=0.0)).run_once()
    row = await pipeline.sql("select status, intent_at is not null, finished_at from vw_task")
    assert row == [("uncertain", True, None)]
    assert await pipeline.sql("select kind from tb_task_event where task_id = %s", task_id) == [("uncertain",)]


async def test_a_row_of_an_ended_task_is_swept_when_its_lease_is_over(pipeline: Pipeline) -> None:
    """不该有；有了也不留着。"""
    (task_id,) = await pipeline.submit()
    await pipeline.execution(Recorder())({}, deliveries=[(str(task_id), 1)])
    await pipeline.sql(
        "insert into tb_work (task_id, delivery, priority, claim_id, attempt, worker, lease_until)"
        " values (%s, 1, 1, %s, 1, 'w', now() - interval '1 s')",
        task_id,
        uuid4(),
    )
    assert await pipeline.status(task_id) == "succeeded"
    assert await pipeline.leases_redrive.run_once() == 0
    assert await pipeline.sql("select from tb_work") == []
