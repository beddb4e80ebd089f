"""Redis 里的投递谁都写得出：不像我们交的当作没有，坏不了别的；死去的 worker 留下的由 relay 清，健康的不碰。"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import uuid_utils.compat as uuid7_source

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.recover.vanished import MOST_A_MINUTE, MOST_AT_ONCE, Vanishing
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.claiming import Claims
from kaguan.outbox.work.leases import Leases
from kaguan.outbox.work.outcome import Done, Retry
from kaguan.queues import keys
from kaguan.queues.client import Client
from kaguan.queues.keys import delivery_key
from kaguan.words.reasons import Reason
from tests.support.alongside import alongside
from tests.support.pipeline import Held, Pipeline, open_pipeline


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(load_settings(environ), pool) as opened:
        yield opened


@pytest.mark.unjudged("用例自己改了投递号")
async def test_what_a_dead_worker_left_is_cleared_and_nothing_healthy_is_touched(pipeline: Pipeline) -> None:
    """取走了的四种：还没标记的、在执行的，PostgreSQL 都算在手里；被收回过的、看不懂的，没有人会做。"""
    fresh, held, forgotten = await pipeline.submit(3)
    await pipeline.forwarder.run_once()
    queue = pipeline.queues[Priority.DEFAULT]
    queued, active = queue.namespace("queued"), queue.namespace("active")
    for _ in range(3):
        await pipeline.redis.lmove(queued, active, "LEFT", "RIGHT")
    for garbage, value in ((b"garbage", b"{not json"), (b"\xff", b""), (b"nothing there", None)):
        await pipeline.redis.rpush(active, garbage)  # type: ignore[misc] # 同步与异步混在一起
        if value is not None:
            await pipeline.redis.set(garbage, value)
    handler = Held()
    async with alongside(pipeline.execution(handler)({}, deliveries=[(str(held), 1)]), "holder"):
        await handler.started.wait()
        await pipeline.sql("update tb_task set delivery = 2 where id = %s", forgotten)
        await pipeline.sql("update tb_work set delivery = 2 where task_id = %s", forgotten)
        leftovers = pipeline.relay.leftovers
        assert await leftovers.run_once() == 0  # 头一眼看见，谁也不动
        leftovers.patience = 0.0
        assert await leftovers.run_once() == 4
        kept = {queue.job_id(delivery_key(task_id, 1)).encode() for task_id in (fresh, held)}
        assert set(await pipeline.redis.lrange(active, 0, -1)) == kept  # type: ignore[misc] # 同上
        assert set(await pipeline.redis.zrange(queue.namespace("incomplete"), 0, -1)) == kept
        assert await queue.job(delivery_key(forgotten, 1)) is None
        handler.released.set()


async def test_no_worker_sweeps(pipeline: Pipeline) -> None:
    """SAQ 的清扫把刚取走、还没标记的当成卡死：一个 worker 起来就先扫一遍。"""
    await pipeline.submit()
    await pipeline.forwarder.run_once()
    queue = pipeline.queues[Priority.DEFAULT]
    await pipeline.redis.lmove(queue.namespace("queued"), queue.namespace("active"), "LEFT", "RIGHT")
    async with pipeline.working(Held()) as execution:
        assert await queue.sweep() == []
        assert execution is not None
        assert await queue.count("active") == 1
        assert await pipeline.redis.exists(queue.namespace("sweep")) == 0


FORGED = {"function": "email:send", "key": "forged", "queue": "default", "timeout": 10, "ttl": 60, "status": "queued"}
TASK = "01a22284-62fe-72c8-9d8e-13a60c0ed20e"


CHANGED: tuple[dict[str, Any], ...] = (
    {"kwargs": {"deliveries": ["x", 1, None]}},
    {"kwargs": {"deliveries": 5}},
    {"kwargs": {"deliveries": [["z", 1]]}},
    {"kwargs": {"deliveries": [[TASK, 10**30]]}},
    {"kwargs": {"deliveries": [[TASK, "1; drop table"]]}},
    {"kwargs": {"deliveries": [[TASK, 1]] * 101}},
    {"meta": None},
    {"meta": {"handed_at": "x"}},
    {"meta": {"handed_at": 1e300}},
    {"meta": {"request_ids": 5}},
    {"timeout": -1},
    {"timeout": "x"},
    {"attempts": "x"},
    {"function": "f\x1b[2J"},
    {"key": "k" * 300},
    {"queue": "low"},
)


async def test_a_delivery_that_we_did_not_hand_over_is_none(pipeline: Pipeline) -> None:
    queue = pipeline.queues[Priority.DEFAULT]
    assert queue.deserialize(orjson.dumps(FORGED)) is not None
    assert isinstance(pipeline.redis, Client)
    for refused, changed in enumerate(CHANGED, 1):
        blob = json.dumps(FORGED | changed).encode()  # 数大得 orjson 写不出
        assert queue.deserialize(blob) is None, changed
        assert pipeline.redis.refused[keys.SAQ_JOB] == refused, changed


async def test_a_forged_delivery_is_not_tried_again_and_names_few_vanished_tasks(pipeline: Pipeline) -> None:
    """重来的事归 PostgreSQL；凭 Redis 的话记下的不见了的，一次、一分钟都有上限。"""
    queue = pipeline.queues[Priority.DEFAULT]
    job = queue.deserialize(orjson.dumps(FORGED | {"retries": 10**9}))
    assert job is not None
    assert not job.retryable
    gone = [(uuid7_source.uuid7(), 1) for _ in range(MOST_A_MINUTE + MOST_AT_ONCE)]
    vanishing = Vanishing(pipeline.pool, 30)
    assert await vanishing.note_delivered("email:send", gone, {}) == MOST_AT_ONCE
    for start in range(MOST_AT_ONCE, len(gone), MOST_AT_ONCE):
        await vanishing.note_delivered("email:send", gone[start : start + MOST_AT_ONCE], {})
    assert await pipeline.sql("select count(*) from tb_vanished") == [(MOST_A_MINUTE,)]


async def test_what_is_not_due_is_not_done_on_the_word_of_redis(pipeline: Pipeline) -> None:
    """投递号猜得到：没到时候的、退避着的、没轮到的，没有交出过就谁也认领不了。"""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    (scheduled,), (failing,) = await pipeline.submit(schedule_at=tomorrow), await pipeline.submit()
    await pipeline.forwarder.run_once()
    handler = Recorder([Retry(Reason("outbox.worker_lost")), Done()])
    execution = pipeline.execution(handler)
    await execution({}, deliveries=[(str(failing), 1)])
    for delivery in range(1, 4):
        await execution({}, deliveries=[(str(scheduled), delivery), (str(failing), delivery)])
    assert [attempt.task_id for attempt in handler.attempts] == [failing]
    assert [await pipeline.status(one) for one in (scheduled, failing)] == ["pending", "retrying"]
    await pipeline.sql("update tb_outbox set available_at = now() where task_id = %s", failing)
    await execution({}, deliveries=[(str(failing), 2)])  # 抢在 relay 记下之前，没有坏处
    assert await pipeline.status(failing) == "succeeded"


async def test_when_a_delivery_says_it_was_handed_over_is_bounded_by_the_record(pipeline: Pipeline) -> None:
    for said in (1.0, 9e9):
        (task_id,) = await pipeline.submit()
        await pipeline.forwarder.run_once()
        await Claims(pipeline.pool, Leases(pipeline.pool, "w", 15.0)).claim([(task_id, 1)], said)
        [(sound,)] = await pipeline.sql(
            "select queued_at between created_at and clock_timestamp() from vw_task where id = %s", task_id
        )
        assert sound


async def test_the_monitor_page_answers_whatever_a_worker_is_said_to_be(pipeline: Pipeline) -> None:
    queue = pipeline.queues[Priority.DEFAULT]
    await pipeline.submit()
    await pipeline.forwarder.run_once()
    for name, value in ((b"\xff", "{}"), (b"saq:default:worker_info:evil", "garbage")):
        await pipeline.redis.zadd(queue.namespace("stats"), {name: 9e12})
        await pipeline.redis.set(queue.namespace("worker_info:evil"), value)
        found = await queue.info(jobs=True)
        assert (found["queued"], found["workers"]) == (1, {})
        await pipeline.redis.delete(queue.namespace("stats"))
