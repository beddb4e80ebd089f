"""每次尝试的跟踪：头一次接在受理的那条上；重试、重放、重投各是新的根，链接回去，也都找得到。"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from kaguan.config import load_settings
from kaguan.config.model import Telemetry
from kaguan.database.pool import Pool
from kaguan.outbox.operate import decisions
from kaguan.outbox.operate.replay import Replay, run
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.outbox.work import claiming
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Token
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry
from kaguan.telemetry.propagation import trace_id_of
from kaguan.telemetry.unsampled import KEPT
from tests.support.console import signed_in
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.running_task import taken_over
from tests.support.said import capture_logs
from tests.support.serving import serving


@pytest.fixture
async def pipeline(environ: dict[str, str], pool: Pool, exported: InMemorySpanExporter) -> AsyncIterator[Pipeline]:
    assert exported is not None  # 先换跟踪，再受理
    async with open_pipeline(load_settings(environ), pool) as opened:
        yield opened


def named(exported: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exported.get_finished_spans() if span.name == name]


def trace_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}"


def assert_linked_root(exported: InMemorySpanExporter) -> None:
    """最后一次处理是新的根，链接到创建。"""
    (creation,) = named(exported, "create email:send")
    last = named(exported, "process email:send")[-1]
    assert last.parent is None
    assert [f"{link.context.trace_id:032x}" for link in last.links] == [trace_of(creation)]
    assert trace_of(last) != trace_of(creation)


async def test_a_replayed_task_starts_a_linked_trace(pipeline: Pipeline, exported: InMemorySpanExporter) -> None:
    (task_id,) = await pipeline.submit()
    handler = Recorder([Discard("对方不收"), Done({})])
    await pipeline.execution(handler)({}, deliveries=[(str(task_id), 1)])
    async with pipeline.pool.connection() as connection:
        await run(connection, Replay(TaskStatus.FAILED), "tester")
    await pipeline.execution(handler)({}, deliveries=[(str(task_id), 2)])
    assert [attempt.attempt for attempt in handler.attempts] == [1, 1]
    assert_linked_root(exported)


async def test_a_human_retry_starts_a_linked_trace(pipeline: Pipeline, exported: InMemorySpanExporter) -> None:
    (task_id,) = await pipeline.submit()
    handler = Recorder([Discard("对方不收"), Done({})])
    await pipeline.execution(handler)({}, deliveries=[(str(task_id), 1)])
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.retry(connection, task_id, "tester")
    await pipeline.execution(handler)({}, deliveries=[(str(task_id), 2)])
    assert_linked_root(exported)


async def test_a_task_taken_from_a_dead_worker_starts_a_linked_trace(
    pipeline: Pipeline, exported: InMemorySpanExporter
) -> None:
    (task_id,) = await pipeline.submit()
    async with pipeline.pool.connection() as connection:
        assert all(
            await claiming.claim(connection, [(Token(task_id, 1, uuid4()), None)], worker="doomed", lease=0.000001)
        )
    with capture_logs() as lines:
        assert await pipeline.leases_redrive.run_once() == 1
    (line,) = lines
    created = trace_of(named(exported, "create email:send")[0])
    assert (line["task_id"], line["trace_id"], line["cause"]) == (str(task_id), created, "lease_expired")
    await pipeline.execution(Recorder([Done({})]))({}, deliveries=[(str(task_id), 2)])
    assert (await pipeline.task(task_id)).attempt == 1
    assert_linked_root(exported)


@pytest.fixture
async def unsampled(environ: dict[str, str], pool: Pool, faults: InMemorySpanExporter) -> AsyncIterator[Pipeline]:
    assert faults is not None  # 先换跟踪，再受理
    async with open_pipeline(load_settings(environ), pool) as opened:
        yield opened


async def test_a_failed_attempt_and_its_retry_are_traced_though_the_task_was_not_sampled(
    unsampled: Pipeline, faults: InMemorySpanExporter
) -> None:
    (task_id,) = await unsampled.submit()

    async def handle(attempt: Attempt) -> Outcome:
        async with unsampled.pool.connection() as connection:
            await connection.execute("select 1")
        return Retry("对方忙") if attempt.delivery == 1 else Done({})

    for delivery in (1, 2):
        await unsampled.execution(handle)({}, deliveries=[(str(task_id), delivery)])
        await unsampled.come_due()
    first, second = named(faults, "process email:send")
    assert ((first.attributes or {})[KEPT], (second.attributes or {})[KEPT]) == ("error", "retry")
    assert [span.parent for span in named(faults, "SELECT")] == [second.get_span_context()]  # 重试的语句，头一次的没有
    record = await unsampled.task(task_id)
    assert trace_id_of(record.traceparent) == trace_of(first)
    async with serving(unsampled.settings) as api, signed_in(api) as visitor:
        page = await visitor.get(f"/console/tasks/{task_id}")
        assert f"trace={trace_of(first)}" in page.text
        assert f"trace={trace_of(second)}" in page.text


async def test_the_attempt_a_dead_worker_left_uncertain_has_a_span_though_the_worker_sent_none(
    unsampled: Pipeline, faults: InMemorySpanExporter
) -> None:
    """relay 收回时补上一个，不论采样；控制台就在受理的那条里找。"""
    (task_id,) = await unsampled.submit()
    async with unsampled.pool.connection() as connection:
        await claiming.claim(connection, [(Token(task_id, 1, uuid4()), None)], worker="doomed", lease=0.000001)
        await connection.execute("update tb_task set intent_at = clock_timestamp()")
    assert await unsampled.leases_redrive.run_once() == 1
    record = await unsampled.task(task_id)
    (left,) = named(faults, "lost email:send")
    assert (record.status, trace_of(left)) == (TaskStatus.UNCERTAIN, trace_id_of(record.traceparent))
    assert ((left.attributes or {})[KEPT], left.status.status_code) == ("lease_expired", StatusCode.ERROR)
    async with serving(unsampled.settings) as api, signed_in(api) as visitor:
        page = await visitor.get(f"/console/tasks/{task_id}")
        assert re.findall(r'data-cause="(\w+)"', page.text) == ["unconfigured"]  # 有得找，不是没被采样
        assert trace_of(left) in page.tested("trace")


async def test_a_fenced_attempt_is_traced_though_the_task_was_not_sampled(
    unsampled: Pipeline, faults: InMemorySpanExporter
) -> None:
    (task_id,) = await unsampled.submit()

    async def outlived(attempt: Attempt) -> Outcome:
        await taken_over(unsampled.pool, attempt.task_id)
        return Done({})

    await unsampled.execution(outlived)({}, deliveries=[(str(task_id), 1)])
    (processing,) = named(faults, "process email:send")
    assert ((processing.attributes or {})[KEPT], processing.status.is_unset) == ("fenced", True)


async def test_the_console_does_not_link_to_a_trace_that_was_not_sampled(
    unsampled: Pipeline, faults: InMemorySpanExporter
) -> None:
    (task_id,) = await unsampled.submit()
    await unsampled.execution(Recorder([Done({})]))({}, deliveries=[(str(task_id), 1)])
    assert faults.get_finished_spans() == ()
    trace_id = trace_id_of((await unsampled.task(task_id)).traceparent)
    settings = unsampled.settings.model_copy(
        update={"telemetry": Telemetry(traces_url="http://127.0.0.1:9")}  # 不该去问
    )
    async with serving(settings) as api, signed_in(api) as visitor:
        page = await visitor.get(f"/console/tasks/{task_id}")
        assert f"trace={trace_id}" not in page.text
        assert f"/trace/{trace_id}" not in page.text
        assert "没有被采样" in page.tested("trace")
        assert str(trace_id) in page.tested("trace")  # 日志里按它找
        assert (await api.call("GET", f"/tasks/{task_id}")).data["trace_id"] == trace_id


async def failed_then_done(pipeline: Pipeline) -> UUID:
    (task_id,) = await pipeline.submit()
    handler = Recorder([Retry("对方忙"), Done({})])
    for delivery in (1, 2):
        await pipeline.execution(handler)({}, deliveries=[(str(task_id), delivery)])
        await pipeline.come_due()
    return task_id


async def test_the_attempt_that_succeeded_after_a_retry_is_offered_with_its_own_trace(
    pipeline: Pipeline, exported: InMemorySpanExporter
) -> None:
    task_id = await failed_then_done(pipeline)
    first, second = map(trace_of, named(exported, "process email:send"))
    assert first != second
    async with serving(pipeline.settings) as api, signed_in(api) as visitor:
        task = (await api.call("GET", f"/tasks/{task_id}")).data
        traces = {stage["stage"]: stage.get("trace_id") for stage in task["timeline"]}
        assert (task["trace_id"], traces["attempt_failed"], traces["succeeded"]) == (first, first, second)
        page = await visitor.get(f"/console/tasks/{task_id}")
        assert f"trace={first}" in page.text
        assert f"trace={second}" in page.text


class Reporting:
    """头一次失败；第二次报了进度还在跑，直到放行。"""

    def __init__(self) -> None:
        self.reported = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, attempt: Attempt) -> Outcome:
        if attempt.delivery == 1:
            return Retry("对方忙")
        await attempt.report(1, 2)
        self.reported.set()
        await self.released.wait()
        return Done({})


async def test_a_retry_that_still_runs_is_offered_with_its_own_trace_once_it_reports_progress(
    pipeline: Pipeline, exported: InMemorySpanExporter
) -> None:
    (task_id,) = await pipeline.submit()
    handler = Reporting()
    await pipeline.execution(handler)({}, deliveries=[(str(task_id), 1)])
    await pipeline.come_due()
    running = asyncio.create_task(pipeline.execution(handler)({}, deliveries=[(str(task_id), 2)]))
    await handler.reported.wait()
    record = await pipeline.task(task_id)
    (started,) = [stage for stage in timeline(record, ()) if stage["stage"] == "started"]
    handler.released.set()
    await running
    second = trace_of(named(exported, "process email:send")[1])
    assert (trace_id_of(record.attempt_traceparent), started["trace_id"]) == (second, second)


async def test_a_first_attempt_that_succeeds_stays_on_the_trace_of_its_task(
    pipeline: Pipeline, exported: InMemorySpanExporter
) -> None:
    (task_id,) = await pipeline.submit()
    await pipeline.execution(Recorder([Done({})]))({}, deliveries=[(str(task_id), 1)])
    (processing,) = named(exported, "process email:send")
    record = await pipeline.task(task_id)
    assert record.attempt_traceparent is None
    async with serving(pipeline.settings) as api:
        timeline = (await api.call("GET", f"/tasks/{task_id}")).data["timeline"]
    assert timeline[-1]["trace_id"] == trace_of(processing)
