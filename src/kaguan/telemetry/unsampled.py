"""开跨度的地方。产品的提供者（:mod:`kaguan.telemetry.sampling`）有自己的轻跨度；别的照 OpenTelemetry 的做。

这里只用 OpenTelemetry 的 API：别的应用的提供者不留岔子，SDK 也未必装着。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind
from opentelemetry.util.types import Attributes

KEPT = "kaguan.trace.kept"  # 不凭比例留下的缘由：retry、redelivery、decision、fenced、lease_expired、error


class Opening(NamedTuple):
    """开一个跨度时说的；``began`` 是早已开始的，纪元纳秒。"""

    scope: str
    name: str
    kind: SpanKind
    attributes: Attributes
    links: Sequence[Link] | None
    began: int | None


class KeepsFaults(Protocol):
    """产品的提供者（:class:`kaguan.telemetry.sampling.FaultProvider`）多出来的；``faults`` 是 None 就没有。"""

    @property
    def faults(self) -> object | None: ...

    def light(self, parent: SpanContext, opening: Opening, identity: SpanContext | None) -> Span:
        """开一个轻的；没给号就现编，采不采样也现定。"""
        ...


def exports() -> bool:
    """本进程送不送跨度；提供者不是产品的，就当它送。"""
    return bool(getattr(trace.get_tracer_provider(), "batches", True))


class Spans:
    """开跨度的地方，一个作用域一份；``provider`` 不给就是本进程的，随时可以设。"""

    def __init__(self, scope: str, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(scope, tracer_provider=provider)
        self._provider = provider
        self.scope = scope

    def start(
        self,
        name: str,
        context: Context | None,
        kind: SpanKind,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        began: int | None = None,
    ) -> Span:
        """开一个，不设为当前；``began`` 是早已开始的，纪元纳秒。

        CONSUMER 的里面是处理器，别人写的：被采样的用 SDK 的，事件、链接都记得下。
        """
        provider = self._provider or trace.get_tracer_provider()
        keeper: KeepsFaults | None = cast("Any", provider) if getattr(provider, "faults", None) is not None else None
        identity = None
        if keeper is None or kind is SpanKind.CONSUMER:
            span = self._tracer.start_span(name, context, kind, attributes, links, began)
            if keeper is None or span.is_recording():
                return span
            identity = span.get_span_context()
        parent = trace.get_current_span(context).get_span_context()
        return keeper.light(parent, Opening(self.scope, name, kind, attributes, links, began), identity)
