"""Jaeger 查询接口的 JSON 形状（jaeger/internal/uimodel）：时间为微秒，标签带类型，父子与链接写成 references。"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kaguan.dev.traceview.decode import SERVICE_NAME, Details, Value, details
from kaguan.dev.traceview.store import StoredSpan, Trace
from kaguan.dev.traceview.tags import span_tags, text_of

MICROSECOND = 1_000  # 纳秒
SAMPLED = 1


def answer(data: list[Any]) -> dict[str, Any]:
    return {"data": data, "total": len(data), "limit": 0, "offset": 0, "errors": None}


def refusal(status: int, message: str, **more: object) -> dict[str, Any]:
    errors = [{"code": status, "msg": message, **more}]
    return {"data": None, "total": 0, "limit": 0, "offset": 0, "errors": errors}


def trace_json(trace: Trace) -> dict[str, Any]:
    processes: dict[tuple[str, bytes], str] = {}
    described: dict[str, dict[str, Any]] = {}
    spans = []
    for span in sorted(trace.spans.values(), key=lambda one: one.start_ns):
        known = details(span)
        process = processes.setdefault((span.service, span.resource), f"p{len(processes) + 1}")
        if process not in described:
            tags = [_tag(key, value) for key, value in known.resource.items() if key != SERVICE_NAME]
            described[process] = {"serviceName": span.service, "tags": tags}
        spans.append(_span(span, known, process))
    warnings = [f"超出单条上限，{trace.dropped} 个跨度没有留下"] if trace.dropped else None
    return {"traceID": trace.id, "spans": spans, "processes": described, "warnings": warnings}


def _span(span: StoredSpan, known: Details, process: str) -> dict[str, Any]:
    references = [_reference("CHILD_OF", span.trace_id, span.parent_id)] if span.parent_id else []
    references += [_reference("FOLLOWS_FROM", link.trace_id, link.span_id) for link in known.links]
    return {
        "traceID": span.trace_id,
        "spanID": span.span_id,
        "flags": SAMPLED,
        "operationName": span.name,
        "references": references,
        "startTime": span.start_ns // MICROSECOND,
        "duration": (span.end_ns - span.start_ns) // MICROSECOND,
        "tags": _tags(span_tags(known)),
        "logs": [
            {
                "timestamp": event.at_ns // MICROSECOND,
                "fields": _tags([("event", event.name), *event.attributes.items()]),
            }
            for event in known.events
        ],
        "processID": process,
        "warnings": None,
    }


def _reference(kind: str, trace_id: str, span_id: str) -> dict[str, str]:
    return {"refType": kind, "traceID": trace_id, "spanID": span_id}


def _tags(pairs: Iterable[tuple[str, Value]]) -> list[dict[str, Any]]:
    return [_tag(key, value) for key, value in pairs]


def _tag(key: str, value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"key": key, "type": "bool", "value": value}
        case int():
            return {"key": key, "type": "int64", "value": value}
        case float():
            return {"key": key, "type": "float64", "value": value}
        case bytes():
            return {"key": key, "type": "binary", "value": text_of(value)}
        case _:
            return {"key": key, "type": "string", "value": value}
