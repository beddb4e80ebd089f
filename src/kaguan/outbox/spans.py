"""消息路径上的跨度：名字与属性只在这里声明一次。

依 OpenTelemetry 语义约定 1.44「Messaging spans」：create → PRODUCER，批量 send → CLIENT 并链接每条消息的创建上下文，
process → CONSUMER。跨度名里的目的地是任务类型（低基数），``messaging.destination.name`` 是 SAQ 的队列名。
异常只记类型，不记消息与堆栈：它们可能带着个人信息，详情在日志里按 task_id 找。
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import lru_cache
from itertools import islice
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import AttributeValue

from kaguan.telemetry.propagation import context_from, link_from, sampled_trace_of
from kaguan.telemetry.spans import DB_COLLECTION, DB_OPERATION, DB_SYSTEM, SEND_LINKS, SPANS, ActiveSpan, record_error
from kaguan.telemetry.unsampled import KEPT

SYSTEM = "saq"
MESSAGING_SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION_NAME = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
BATCH_COUNT = "messaging.batch.message_count"
BATCH_SIZE = "db.operation.batch.size"
RECORD = "tb_task"
TASK_TYPE = "kaguan.task.type"
TASK_ATTEMPT = "kaguan.task.attempt"
TASK_OUTCOME = "kaguan.task.outcome"
FENCED = "fenced"
LOST = "lease_expired"
NANOSECONDS = 1_000_000_000


def creation_context(type: str, task_id: UUID | str, queue: str) -> SpanContext:  # noqa: A002 与列同名
    """受理：记下一条消息的创建（父级是当前的 HTTP 跨度），返回它的创建上下文。

    创建是一瞬间的事，写库另有跨度。没被采样的跟踪不另起跨度，HTTP 跨度的号就是创建上下文。
    """
    identity = trace.get_current_span().get_span_context()
    if not identity.is_valid or identity.trace_flags.sampled:
        attributes = {**_messaging("create", type, queue), MESSAGE_ID: str(task_id)}
        span = SPANS.start(f"create {type}", None, SpanKind.PRODUCER, attributes)
        span.end()
        return span.get_span_context()
    return identity


def batch_span(operation: str, contexts: Sequence[SpanContext]) -> AbstractContextManager[object]:
    """合并的一条语句：一批任务的那条一个跨度，接在第一条被采样的之下，链接其余的；一条也没有采样就没有跨度。

    它不设为当前跨度，否则语句自己还要再开一个。

    Args:
        operation: 受理是 INSERT，意向与结算是 UPDATE，看是 SELECT。
        contexts: 这一批每条消息各自接在哪里；链接的多少由合并写入的上限管着。
    """
    sampled = [context for context in contexts if _is_sampled(context)]
    if not sampled:
        return nullcontext()
    parent = trace.set_span_in_context(NonRecordingSpan(sampled[0]), Context())
    links = [Link(context) for context in sampled[1:]]
    attributes: dict[str, AttributeValue] = {
        DB_SYSTEM: "postgresql",
        DB_OPERATION: operation,
        DB_COLLECTION: RECORD,
        BATCH_SIZE: len(contexts),
    }
    return ActiveSpan(f"{operation} {RECORD}", SpanKind.CLIENT, attributes, parent, links, current=False)


def send_span(traceparents: Iterable[str | None], queues: Mapping[str, int]) -> AbstractContextManager[Span]:
    """投递：一批消息一个跨度，自成一根，链接到每条被采样的消息的创建上下文；有一条就跟着采样。只在批次非空时开。

    Args:
        traceparents: 每条消息的创建上下文。
        queues: 各队列在这一批里的条数。
    """
    attributes: dict[str, AttributeValue] = {
        MESSAGING_SYSTEM: SYSTEM,
        OPERATION_NAME: "send",
        OPERATION_TYPE: "send",
        BATCH_COUNT: sum(queues.values()),
    }
    destination = next(iter(queues)) if len(queues) == 1 else ""
    if destination:
        attributes[DESTINATION_NAME] = destination
    else:
        attributes |= {f"kaguan.queue.{queue}.message_count": count for queue, count in queues.items()}
    sampled = filter(sampled_trace_of, islice(traceparents, SEND_LINKS))
    links = [link for link in map(link_from, sampled) if link is not None]
    return ActiveSpan(f"send {destination}".rstrip(), SpanKind.CLIENT, attributes, Context(), links)


def handed_spans(batch: Span, began: int, messages: Iterable[tuple[str, UUID, str, str | None]]) -> None:
    """交出了：头一次投递、被采样的每条消息在自己的跟踪里各有短短一段，链接到那一批。

    它之前的空当是在发件箱里等的，之后到 ``process`` 的是在队列里等的。

    Args:
        batch: 那一批的跨度。
        began: 这一批何时开始，纪元纳秒。
        messages: （类型，任务号，队列，创建上下文）。
    """
    link = [Link(batch.get_span_context())]
    for task_type, task_id, queue, traceparent in messages:
        if sampled_trace_of(traceparent) is not None:
            attributes = {**_messaging("send", task_type, queue), MESSAGE_ID: str(task_id)}
            SPANS.start(f"send {task_type}", context_from(traceparent), SpanKind.CLIENT, attributes, link, began).end()


def process_span(
    type: str,  # noqa: A002 与列同名
    task_id: UUID | str,
    queue: str,
    attempt: int,
    traceparent: str | None,
    *,
    delivery: int = 1,
) -> AbstractContextManager[Span]:
    """处理：头一次投递是创建上下文的子跨度；之后各是新的根，链接回创建上下文，且一律采样。

    隔几小时的重试、重放与重投（它们的尝试数可能仍是 1）不该拉长原来那条跟踪。
    """
    attributes = {**_messaging("process", type, queue), MESSAGE_ID: str(task_id), TASK_ATTEMPT: attempt}
    if delivery > 1 or attempt > 1:
        attributes[KEPT] = "retry" if attempt > 1 else "redelivery"
        link = link_from(traceparent)
        return ActiveSpan(f"process {type}", SpanKind.CONSUMER, attributes, Context(), [] if link is None else [link])
    return ActiveSpan(f"process {type}", SpanKind.CONSUMER, attributes, context_from(traceparent))


def lost_span(task_type: str, task_id: UUID, queue: str, traceparent: str | None, began: datetime) -> None:
    """丢了租约的一次尝试：worker 多半死了，跨度随它没了。收回它的 relay 补上一个，接在受理的那条上，一律送出。"""
    attributes = {**_messaging("process", task_type, queue), MESSAGE_ID: str(task_id), KEPT: LOST}
    started = int(began.timestamp() * NANOSECONDS)
    span = SPANS.start(f"lost {task_type}", context_from(traceparent), SpanKind.CONSUMER, attributes, None, started)
    record_error(span, LOST)
    span.end()


def record_outcome(span: Span, outcome: str, error: str | None = None) -> None:
    """在 process 跨度上写下结局；``error`` 是低基数的错误种类，给了它跨度即为失败。被隔离的不算失败，但留下。"""
    span.set_attribute(TASK_OUTCOME, outcome)
    if outcome == FENCED:
        span.set_attribute(KEPT, FENCED)
    if error is not None:
        record_error(span, error)


@lru_cache(maxsize=64)
def _messaging(operation: str, task_type: str, queue: str) -> Mapping[str, AttributeValue]:
    return {
        MESSAGING_SYSTEM: SYSTEM,
        OPERATION_NAME: operation,
        OPERATION_TYPE: operation,
        DESTINATION_NAME: queue,
        TASK_TYPE: task_type,
    }


def _is_sampled(context: SpanContext) -> bool:
    return bool(context.trace_flags & TraceFlags.SAMPLED)
