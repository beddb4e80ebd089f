"""跨度在 Jaeger 里的标签：属性之外还有由 kind、状态、作用域合成的几个（Jaeger 的 OTLP 转换规则）。"""

from __future__ import annotations

import base64

from kaguan.dev.traceview.decode import Details, Kind, Value

SYNTHESIZED = frozenset({"span.kind", "error", "otel.status_code", "otel.status_description", "otel.scope.name"})


def span_tags(span: Details) -> list[tuple[str, Value]]:
    tags: list[tuple[str, Value]] = list(span.attributes.items())
    if span.kind is not Kind.UNSPECIFIED:
        tags.append(("span.kind", span.kind.name.lower()))
    if span.status != "UNSET":
        tags.append(("otel.status_code", span.status))
    if span.status == "ERROR":
        tags.append(("error", True))
    if span.status_message:
        tags.append(("otel.status_description", span.status_message))
    if span.scope:
        tags.append(("otel.scope.name", span.scope))
    return tags


def text_of(value: Value) -> str:
    """值的文本：真假写 true / false，字节写 Base64。"""
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case _:
            return str(value)
