"""跨度的形状：消息语义约定、父子与链接、SQL 语句、空转不产生跨度。"""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext, SpanKind
from pydantic import ValidationError
from sqlalchemy import text

from kaguan.config.model import Relay
from kaguan.database.engine import engine_on
from kaguan.database.observed import summary
from kaguan.database.pool import Pool
from kaguan.outbox import spans
from kaguan.telemetry.propagation import context_from, current_traceparent, link_from, traceparent_of
from kaguan.telemetry.spans import SEND_LINKS, client_span, record_error
from kaguan.telemetry.unsampled import KEPT
from tests.support.tracing import only

UNSAMPLED = SpanContext(1, 2, is_remote=False)
TASK = UUID("01890000-0000-7000-8000-000000000001")


def created(exporter: InMemorySpanExporter) -> tuple[ReadableSpan, str]:
    traceparent = traceparent_of(spans.creation_context("email:send", TASK, "critical"))
    assert traceparent is not None
    return only(exporter, "create email:send"), traceparent


def test_create_is_a_producer_with_the_messaging_attributes(exported: InMemorySpanExporter) -> None:
    span, traceparent = created(exported)
    assert span.kind is SpanKind.PRODUCER
    assert dict(span.attributes or {}) == {
        "messaging.system": "saq",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "critical",
        "messaging.message.id": str(TASK),
        "kaguan.task.type": "email:send",
    }
    context = span.get_span_context()
    assert context is not None
    assert traceparent.startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


def test_the_first_attempt_is_a_child_of_create(exported: InMemorySpanExporter) -> None:
    creation, traceparent = created(exported)
    with spans.process_span("email:send", TASK, "critical", 1, traceparent) as span:
        spans.record_outcome(span, "succeeded")
    processing = only(exported, "process email:send")
    assert processing.kind is SpanKind.CONSUMER
    assert processing.parent is not None
    assert processing.parent.span_id == creation.get_span_context().span_id  # type: ignore[union-attr]
    assert processing.status.is_unset
    assert (processing.attributes or {})["kaguan.task.outcome"] == "succeeded"


@pytest.mark.parametrize(("attempt", "delivery"), [(2, 2), (1, 2)])
def test_a_later_attempt_is_a_new_root_linked_to_create(
    exported: InMemorySpanExporter, attempt: int, delivery: int
) -> None:
    creation, traceparent = created(exported)
    with spans.process_span("email:send", TASK, "critical", attempt, traceparent, delivery=delivery):
        pass
    processing = only(exported, "process email:send")
    assert processing.parent is None
    assert [link.context.span_id for link in processing.links] == [creation.get_span_context().span_id]  # type: ignore[union-attr]
    assert processing.get_span_context().trace_id != creation.get_span_context().trace_id  # type: ignore[union-attr]


def test_a_task_without_a_trace_starts_one(exported: InMemorySpanExporter) -> None:
    for attempt, traceparent in ((1, None), (2, None), (1, "garbage")):
        with spans.process_span("email:send", TASK, "critical", attempt, traceparent):
            assert current_traceparent() is not None
    assert [span.parent for span in exported.get_finished_spans()] == [None] * 3


def test_a_batch_is_one_root_linked_to_every_message(exported: InMemorySpanExporter) -> None:
    creation, traceparent = created(exported)
    with client_span("outer", {}), spans.send_span([traceparent, None, "garbage"], {"critical": 2, "low": 1}):
        pass
    sent = only(exported, "send")
    assert (sent.kind, sent.parent) == (SpanKind.CLIENT, None)
    assert [link.context.span_id for link in sent.links] == [creation.get_span_context().span_id]  # type: ignore[union-attr]
    assert (sent.attributes or {})["messaging.batch.message_count"] == 3
    assert (sent.attributes or {})["kaguan.queue.critical.message_count"] == 2
    with spans.send_span([], {"low": 4}):
        pass
    assert (only(exported, "send low").attributes or {})["messaging.destination.name"] == "low"


def test_every_message_of_the_largest_batch_is_linked_and_no_more(exported: InMemorySpanExporter) -> None:
    """SDK 缺省每个跨度只留 128 条链接。"""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    largest = Relay(batch_size=SEND_LINKS).batch_size
    with pytest.raises(ValidationError):
        Relay(batch_size=largest + 1)
    with spans.send_span([traceparent] * (largest + 1), {"low": largest + 1}):
        pass
    assert len(only(exported, "send low").links) == largest


def test_a_batch_is_linked_to_the_sampled_messages_and_sampled_with_them(faults: InMemorySpanExporter) -> None:
    sampled, unsampled = (f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0{flags}" for flags in (1, 0))
    with spans.send_span([unsampled] * 3, {"low": 3}):
        pass
    assert faults.get_finished_spans() == ()
    with spans.send_span([unsampled, sampled, unsampled], {"low": 3}):
        pass
    (sent,) = faults.get_finished_spans()
    assert [link.context.trace_flags for link in sent.links] == [1]
    assert (sent.attributes or {})["messaging.batch.message_count"] == 3


async def test_a_failed_call_is_sent_and_statements_are_not_in_an_unsampled_trace(
    pool: Pool, faults: InMemorySpanExporter
) -> None:
    async with pool.connection() as connection:
        with spans.process_span("email:send", TASK, "low", 1, None):
            await connection.execute("select 1")
            with pytest.raises(psycopg.errors.DivisionByZero):
                await connection.execute("select 1 / 0")
            with client_span("webhook post", {}) as call:
                record_error(call, "502")
            with client_span("webhook post", {}):
                pass
    (failed,) = faults.get_finished_spans()
    assert dict(failed.attributes or {}) == {"error.type": "502", KEPT: "error"}


def test_creation_in_an_unsampled_trace_is_no_span_but_keeps_the_trace(exported: InMemorySpanExporter) -> None:
    http = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    with trace.use_span(trace.get_current_span(context_from(http))):
        assert traceparent_of(spans.creation_context("email:send", TASK, "low")) == http
    assert exported.get_finished_spans() == ()


def test_a_fold_is_one_span_below_its_first_message_linked_to_the_others(exported: InMemorySpanExporter) -> None:
    contexts = [spans.creation_context("email:send", TASK, "low") for _ in range(3)]
    with spans.batch_span("INSERT", [INVALID_SPAN_CONTEXT, UNSAMPLED, *contexts]):
        assert not trace.get_current_span().is_recording()
    creations = [span.get_span_context().span_id for span in exported.get_finished_spans()[:3]]  # type: ignore[union-attr]
    fold = only(exported, "INSERT tb_task")
    assert fold.parent is not None
    assert [fold.parent.span_id, *(link.context.span_id for link in fold.links)] == creations
    assert (fold.attributes or {})["db.operation.batch.size"] == 5


def test_a_fold_of_unsampled_messages_is_no_span(exported: InMemorySpanExporter) -> None:
    with spans.batch_span("INSERT", [INVALID_SPAN_CONTEXT, UNSAMPLED]):
        pass
    assert exported.get_finished_spans() == ()


def test_a_failure_keeps_its_type_and_not_its_message(exported: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="alice"), spans.process_span("email:send", TASK, "low", 1, None):
        raise ValueError("alice@example.com")
    span = only(exported, "process email:send")
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert not span.status.is_ok
    assert not span.events
    assert "alice" not in span.to_json()


def test_a_malformed_traceparent_is_no_context() -> None:
    assert link_from("garbage") is None
    assert link_from(None) is None
    assert not trace.get_current_span(context_from("garbage")).get_span_context().is_valid


async def test_statements_below_a_recorded_span_are_spans_without_values(
    pool: Pool, exported: InMemorySpanExporter
) -> None:
    async with pool.connection() as connection:
        with spans.process_span("email:send", TASK, "low", 1, None):
            await connection.execute("-- 找任务\nselect id\nfrom tb_task where request_id = %s", ["s3cr3t-value"])
    span = only(exported, "SELECT tb_task")
    attributes = dict(span.attributes or {})
    assert span.kind is SpanKind.CLIENT
    assert span.parent is not None
    assert attributes.pop("db.namespace")
    assert attributes == {
        "db.system.name": "postgresql",
        "db.operation.name": "SELECT",
        "db.collection.name": "tb_task",
        "db.query.text": "select id from tb_task where request_id = %s",
    }
    assert "s3cr3t-value" not in span.to_json()


async def test_statements_of_sqlalchemy_are_spans_too(pool: Pool, exported: InMemorySpanExporter) -> None:
    with spans.process_span("email:send", TASK, "low", 1, None):
        async with engine_on(pool).begin() as connection:
            await connection.execute(text("update tb_user set status = :status where id = -1"), {"status": "active"})
    assert only(exported, "UPDATE tb_user").parent is not None


async def test_a_failed_statement_tells_its_sqlstate(pool: Pool, exported: InMemorySpanExporter) -> None:
    async with pool.connection() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero), spans.process_span("email:send", TASK, "low", 1, None):
            await connection.execute("select 1 / 0")
    span = only(exported, "SELECT")
    assert (span.attributes or {})["db.response.status_code"] == "22012"
    assert (span.attributes or {})["error.type"] == "DivisionByZero"


async def test_idle_polling_makes_no_spans(pool: Pool, exported: InMemorySpanExporter) -> None:
    async with pool.connection() as connection:
        await connection.execute("select from tb_outbox limit 1")
        async with connection.cursor() as cursor:
            await cursor.executemany("select %s::int", [(1,), (2,)])
    assert exported.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("select 1", ("SELECT", "")),
        ("select id from tb_task where id = 1 for no key update of t skip locked", ("SELECT", "tb_task")),
        (
            "select a from unnest(x) as q cross join lateral (select b from tb_outbox for update skip locked) o",
            ("SELECT", "tb_outbox"),
        ),
        ('insert into "tb_user" (a) values (1) on conflict do update set a = 2', ("INSERT", "tb_user")),
        ("with g as (delete from tb_outbox o using x returning 1) update tb_task t set a = 1", ("DELETE", "tb_outbox")),
        ("update only tb_sim set a = 1", ("UPDATE", "tb_sim")),
        ("notify kaguan", ("NOTIFY", "")),
        ("", ("", "")),
    ],
)
def test_the_name_of_a_statement(statement: str, expected: tuple[str, str]) -> None:
    assert summary(statement) == expected
