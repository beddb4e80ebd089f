"""``POST /v1/traces``：OTLP/HTTP 的 protobuf（OTLP 规范 §OTLP/HTTP）。"""

from __future__ import annotations

from aiohttp import web
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # 库没有类型信息
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from kaguan.dev.traceview.decode import MalformedError, received
from kaguan.dev.traceview.keys import STORE
from kaguan.flow.inflating import COMPRESSED, CorruptError, inflate
from kaguan.words.units import MIB

CONTENT_TYPE = "application/x-protobuf"
INVALID_ARGUMENT = 3  # google.rpc.Code
BODY_LIMIT = 16 * MIB  # 压缩着与解压后都不许超过


async def receive(request: web.Request) -> web.Response:
    """收下一批；坏的答 400，太大答 413，别的类型或编码答 415。"""
    if request.content_type != CONTENT_TYPE:
        raise web.HTTPUnsupportedMediaType(text=f"只收 {CONTENT_TYPE}\n")
    try:
        spans = received(await _plain(await request.read(), request.headers.get("Content-Encoding", "identity")))
    except MalformedError as error:
        return _refused(str(error))
    request.app[STORE].add(spans)
    return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=CONTENT_TYPE)


async def _plain(body: bytes, encoding: str) -> bytes:
    """解压，解到上限为止。不用 aiohttp 的自动解压：遇到坏的它会断开连接，答复可能送不到。"""
    if encoding == "identity":
        return body
    if encoding not in COMPRESSED:
        raise web.HTTPUnsupportedMediaType(text="只认 gzip 与 deflate\n")
    try:
        plain = await inflate(body, BODY_LIMIT)
    except CorruptError:
        raise MalformedError("压缩的正文解不开，或不完整") from None
    if plain is None:
        raise web.HTTPRequestEntityTooLarge(BODY_LIMIT)
    return plain


def _refused(reason: str) -> web.Response:
    """规范：400 的正文是 google.rpc.Status。"""
    body = Status(code=INVALID_ARGUMENT, message=reason).SerializeToString()
    return web.Response(status=web.HTTPBadRequest.status_code, body=body, content_type=CONTENT_TYPE)
