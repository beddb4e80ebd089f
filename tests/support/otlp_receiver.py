"""真实的 OTLP/HTTP（protobuf）接收端：开在本机套接字上，收下跨度，供用例等待与断言。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.eventually import PATIENCE

TRACES_PATH = "/v1/traces"
CONTENT_TYPE = "application/x-protobuf"
STATUS_ERROR = 2  # opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR


class Kind(IntEnum):
    """opentelemetry.proto.trace.v1.Span.SpanKind。"""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """收到的一个跨度；各号是十六进制，没有父级时 ``parent_id`` 为空串。``links`` 是 (trace_id, span_id)。"""

    service: str
    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    resource: dict[str, Any]
    failed: bool
    text: str  # 整个跨度的文本，供搜秘密

    @property
    def id(self) -> tuple[str, str]:
        return self.trace_id, self.span_id


@dataclass(slots=True)
class OtlpReceiver:
    """收到的全部跨度；``endpoint`` 填进 OTEL_EXPORTER_OTLP_ENDPOINT。``batches`` 是每个请求里的个数。"""

    endpoint: str
    spans: list[ReceivedSpan] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_for(
        self,
        predicate: Callable[[ReceivedSpan], bool],
    ) -> ReceivedSpan:
        """等到有一个跨度满足 ``predicate``，返回它。

        Raises:
            AssertionError: 到时仍没有；消息列出收到的名字。
        """
        try:
            async with asyncio.timeout(PATIENCE), self._arrived:
                await self._arrived.wait_for(lambda: any(map(predicate, self.spans)))
        except TimeoutError:
            names = sorted({f"{span.service}: {span.name}" for span in self.spans})
            raise AssertionError(f"等了 {PATIENCE:g} 秒没有等到跨度；收到的有 {names}") from None
        return next(span for span in self.spans if predicate(span))

    def children_of(self, parent: ReceivedSpan) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.trace_id == parent.trace_id and span.parent_id == parent.span_id]

    async def receive(self, request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest.FromString(await request.read())
        async with self._arrived:
            received = list(_spans(batch))
            self.headers.append(request.headers)
            self.batches.append(len(received))
            self.spans.extend(received)
            self._arrived.notify_all()
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=CONTENT_TYPE)


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[OtlpReceiver]:
    """在 127.0.0.1 的空闲端口上开一个接收端。"""
    receiver = OtlpReceiver("")
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post(TRACES_PATH, receiver.receive)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        receiver.endpoint = f"http://{host}:{port}"
        yield receiver
    finally:
        await runner.cleanup()


def _spans(batch: ExportTraceServiceRequest) -> Iterable[ReceivedSpan]:
    for resource_spans in batch.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _received(span, resource)


def _received(span: Span, resource: dict[str, Any]) -> ReceivedSpan:
    return ReceivedSpan(
        service=str(resource.get("service.name", "")),
        name=span.name,
        kind=Kind(span.kind),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_attributes(span.attributes),
        resource=resource,
        failed=span.status.code == STATUS_ERROR,
        text=str(span),
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    which = value.WhichOneof("value")
    return None if which is None else getattr(value, which)
