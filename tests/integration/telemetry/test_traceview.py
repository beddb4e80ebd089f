"""跟踪查看器：真实的套接字，真实的 OTel SDK 导出器往里送。"""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp
import pytest
from aiohttp import web
from google.rpc.status_pb2 import Status as RpcStatus  # type: ignore[import-untyped]  # 库没有类型信息
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer

from kaguan.dev.traceview import texts
from kaguan.dev.traceview.app import build_runner
from kaguan.dev.traceview.decode import received
from kaguan.dev.traceview.ingest import BODY_LIMIT, CONTENT_TYPE
from kaguan.dev.traceview.pages import KINDS
from kaguan.dev.traceview.store import Limits
from kaguan.words.zones import BUSINESS_ZONE

TASK = "01a21066-d5ca-7178-9869-f989085487d8"
HAN = re.compile(r"[\u4e00-\u9fff]")
HOSTILE = "<script>alert(1)</script>"
OTLP = {"Content-Type": CONTENT_TYPE}


@dataclass(frozen=True, slots=True)
class Viewer:
    """运行中的查看器。"""

    session: aiohttp.ClientSession
    url: str

    async def text(self, path: str, **query: str) -> str:
        async with self.session.get(path, params=query) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def json(self, path: str, **query: str) -> Any:
        async with self.session.get(path, params=query) as response:
            assert response.status == 200, await response.text()
            body = await response.json()
            assert body["errors"] is None
            return body["data"]

    async def post(self, body: bytes, **headers: str) -> tuple[int, bytes]:
        async with self.session.post("/v1/traces", data=io.BytesIO(body), headers=OTLP | headers) as response:
            return response.status, await response.read()

    async def export(
        self, service: str, make: Callable[[Tracer], None], compression: Compression = Compression.NoCompression
    ) -> None:
        """像一个真的进程那样产生并送出跨度。"""

        def work() -> None:
            provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
            exporter = OTLPSpanExporter(f"{self.url}/v1/traces", compression=compression)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            make(provider.get_tracer("tests"))
            provider.shutdown()

        await asyncio.to_thread(work)


@asynccontextmanager
async def viewer(limits: Limits, zone: ZoneInfo = BUSINESS_ZONE) -> AsyncIterator[Viewer]:
    runner = build_runner(limits, zone)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession(url) as session:
            yield Viewer(session, url)
    finally:
        await runner.cleanup()


@pytest.fixture
async def view() -> AsyncIterator[Viewer]:
    async with viewer(Limits()) as opened:
        yield opened


async def test_times_are_in_the_named_zone_with_their_offset() -> None:
    began = int(datetime(2026, 2, 3, 5, 6, 7, 890_000, tzinfo=UTC).timestamp() * 1e9)
    async with viewer(Limits(), ZoneInfo("America/St_Johns")) as view:
        await view.export("api", lambda tracer: tracer.start_span("old", start_time=began).end(began + 1_000))
        async with view.session.get("/") as response:
            page = await response.text()
    assert "2026-02-03 01:36:07.890 -03:30" in page
    assert "America/St_Johns" in page


def a_failed_task(tracer: Tracer) -> None:
    with tracer.start_as_current_span("create email:send", kind=SpanKind.PRODUCER) as created:
        created.set_attributes({"messaging.message.id": TASK, "count": 3, "ratio": 0.5, "kept": True, "to": ["a", "b"]})
        with tracer.start_as_current_span(f"smtp {HOSTILE}", kind=SpanKind.CLIENT) as sent:
            sent.add_event("exception", {"exception.type": "OSError"})
            sent.set_status(Status(StatusCode.ERROR, "没有连上"))
    link = Link(created.get_span_context())
    tracer.start_span("send default", links=[link]).end()


def batch_of(count: int, *, trace: int, padding: int = 0) -> bytes:
    """``count`` 个跨度，同一条跟踪。"""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(count):
        spans.add(
            trace_id=trace.to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            name="x" * padding or "span",
            start_time_unix_nano=trace * 1_000,
            end_time_unix_nano=trace * 1_000 + 500,
        )
    content: bytes = request.SerializeToString()
    return content


async def trace_ids(view: Viewer) -> set[int]:
    found = await view.json("/api/traces", service="unknown_service", limit="1000")
    return {int(trace["traceID"], 16) for trace in found}


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
async def test_a_real_exporter_is_read_back_in_the_shape_of_jaeger(view: Viewer, compression: Compression) -> None:
    await view.export("kaguan-api", a_failed_task, compression)
    assert await view.json("/api/services") == ["kaguan-api"]
    operations = ["create email:send", "send default", f"smtp {HOSTILE}"]
    assert await view.json("/api/services/kaguan-api/operations") == operations
    assert [one["name"] for one in await view.json("/api/operations", service="kaguan-api")] == operations
    linking, trace = await view.json("/api/traces", service="kaguan-api", lookback="1h")

    assert set(trace) == {"traceID", "spans", "processes", "warnings"}
    created, sent = trace["spans"]
    process = trace["processes"][created["processID"]]
    assert process["serviceName"] == "kaguan-api"
    assert created["operationName"] == "create email:send"
    assert (created["traceID"], created["references"]) == (trace["traceID"], [])
    tags = {tag["key"]: (tag["type"], tag["value"]) for tag in created["tags"]}
    assert tags["messaging.message.id"] == ("string", TASK)
    assert (tags["count"], tags["ratio"]) == (("int64", 3), ("float64", 0.5))
    assert (tags["kept"], tags["to"]) == (("bool", True), ("string", '["a","b"]'))
    assert tags["span.kind"] == ("string", "producer")
    parent = {"refType": "CHILD_OF", "traceID": trace["traceID"], "spanID": created["spanID"]}
    assert sent["references"] == [parent]
    assert created["startTime"] <= sent["startTime"]
    assert 1_700_000_000_000_000 < sent["startTime"] < 10_000_000_000_000_000  # 微秒
    assert sent["startTime"] + sent["duration"] <= created["startTime"] + created["duration"] + 1
    assert {"key": "error", "type": "bool", "value": True} in sent["tags"]
    assert {"key": "event", "type": "string", "value": "exception"} in sent["logs"][0]["fields"]
    assert linking["spans"][0]["references"] == [parent | {"refType": "FOLLOWS_FROM"}]
    assert await view.json(f"/api/traces/{trace['traceID']}") == [trace]


async def test_pages_show_spans_attributes_and_links_and_nothing_runs(view: Viewer) -> None:
    await view.export("kaguan-api", a_failed_task)
    linking, trace = await view.json("/api/traces", service="kaguan-api")
    page = await view.text(f"/trace/{trace['traceID']}")
    for shown in ("create email:send", "messaging.message.id", TASK, "没有连上", "OSError", "<rect", "被链接自"):
        assert shown in page
    assert f'href="/trace/{linking["traceID"]}"' in page
    back = await view.text(f"/trace/{linking['traceID']}")
    assert f'href="/trace/{trace["traceID"]}#s{trace["spans"][0]["spanID"]}"' in back
    for text in (page, await view.text("/")):
        assert HOSTILE not in text
        assert "<script" not in text
        assert 'style="' not in text
    async with view.session.get("/") as response:
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    async with view.session.get("/assets/traceview.css") as response:
        assert (response.status, response.content_type) == (200, "text/css")
        assert "url(" not in await response.text()


async def test_pages_speak_the_language_of_the_browser_until_one_is_chosen(view: Viewer) -> None:
    await view.export("kaguan-api", lambda tracer: tracer.start_span("create email:send").end())
    [trace] = await view.json("/api/traces", service="kaguan-api")
    english = {"Accept-Language": "en-GB,en;q=0.9"}
    for path in ("/", f"/trace/{trace['traceID']}", "/trace/abc"):
        async with view.session.get(path, headers=english) as response:
            page = await response.text()
            assert '<html lang="en">' in page
            assert HAN.findall(page.replace("中文", "")) == [], path
    for back, location in (("/?task=a%26b", "/?task=a&b"), ("//evil.example", "/"), ("https://evil.example", "/")):
        address = f"/language/zh?back={quote(back, safe='')}" if "evil" in back else f"/language/zh?back={back}"
        async with view.session.get(address, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, location)
            chosen = response.cookies["kaguan_language"].value
    async with view.session.get("/", headers={**english, "Cookie": f"kaguan_language={chosen}"}) as response:
        assert '<html lang="zh-CN">' in await response.text()
    async with view.session.get("/language/fr", allow_redirects=False) as response:
        assert response.status == 404


def test_every_text_of_the_pages_has_its_english_and_no_other_is_kept() -> None:
    home = Path(texts.__file__).parent
    templates = "\n".join(path.read_text("utf-8") for path in home.glob("templates/*.html"))
    used = set(re.findall(r'\bt\("([^"]+)"', templates)) | set(KINDS.values())
    assert used == set(texts.english())
    assert HAN.findall(re.sub(r'\bt\("[^"]+"', "", templates).replace("中文", "")) == []
    for chinese, english in texts.english().items():
        assert not HAN.search(english)
        assert chinese.count("{}") == english.count("{}")


async def test_the_list_is_searched_by_task_trace_service_and_errors(view: Viewer) -> None:
    await view.export("kaguan-api", a_failed_task)
    await view.export("kaguan-relay", lambda tracer: tracer.start_span("quiet").end())
    linking, trace = await view.json("/api/traces", service="kaguan-api")

    async def found(**query: str) -> set[str]:
        page = await view.text("/", **query)
        names = {"create": trace["traceID"], "send": linking["traceID"], "quiet": ">quiet<"}
        return {name for name, mark in names.items() if mark in page}

    assert await found() == {"create", "send", "quiet"}
    assert await found(task=TASK) == {"create", "send"}  # 链接到它的那一批也在
    assert await found(task="other") == set()
    assert await found(trace=trace["traceID"].upper()) == {"create"}
    assert await found(service="kaguan-relay") == {"quiet"}
    assert await found(errors="1") == {"create"}


async def test_jaeger_searches_by_operation_tags_time_and_duration(view: Viewer) -> None:
    await view.export("kaguan-api", a_failed_task)

    async def count(**query: str) -> int:
        return len(await view.json("/api/traces", service="kaguan-api", **query))

    assert await count(limit="1") == 1
    assert await count(operation="create email:send") == 1
    assert await count(operation="quiet") == 0
    assert await count(tags=f'{{"messaging.message.id":"{TASK}","count":"3"}}') == 1
    assert await count(tags='{"error":"true"}') == 1
    assert await count(tag="count:4") == 0
    assert await count(minDuration="1h") == 0
    assert await count(maxDuration="1h30m", lookback="custom") == 2
    assert await count(start="1", end="2") == 0


@pytest.mark.parametrize(
    "query", ["", "service=a&tags=[", "service=a&tag=x", "service=a&minDuration=soon", "service=a&limit=x"]
)
async def test_jaeger_refuses_malformed_queries(view: Viewer, query: str) -> None:
    async with view.session.get(f"/api/traces?{query}") as response:
        body = await response.json()
    assert (response.status, body["data"], body["errors"][0]["code"]) == (400, None, 400)


async def test_an_unknown_trace_is_404(view: Viewer) -> None:
    async with view.session.get("/api/traces/abc") as response:
        assert (response.status, (await response.json())["errors"][0]["msg"]) == (404, "trace not found")
    async with view.session.get("/trace/abc") as response:
        assert response.status == 404
        assert "没有这条跟踪" in await response.text()


@pytest.mark.parametrize("body", [b"\xff" * 20, b"{}", batch_of(3, trace=1)[:-7]])
async def test_a_malformed_body_is_400(view: Viewer, body: bytes) -> None:
    status, answer = await view.post(body)
    assert status == 400
    assert RpcStatus.FromString(answer).message
    assert await view.json("/api/services") == []


async def test_a_wrong_id_a_broken_gzip_another_type_and_a_bomb_are_refused(view: Viewer) -> None:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(trace_id=b"short", span_id=b"12345678")
    assert (await view.post(request.SerializeToString()))[0] == 400
    assert (await view.post(b"not gzip at all", **{"Content-Encoding": "gzip"}))[0] == 400
    cut = gzip.compress(batch_of(9, trace=1))[:-9]
    assert (await view.post(cut, **{"Content-Encoding": "gzip"}))[0] == 400
    assert (await view.post(b"", **{"Content-Encoding": "br"}))[0] == 415
    assert (await view.post(b"{}", **{"Content-Type": "application/json"}))[0] == 415
    bomb = gzip.compress(bytes(BODY_LIMIT + 1))
    assert (await view.post(bomb, **{"Content-Encoding": "gzip"}))[0] == 413
    assert (await view.post(bytes(BODY_LIMIT + 1)))[0] == 413
    assert (await view.post(batch_of(1, trace=1)))[0] == 200


async def test_the_oldest_traces_give_way() -> None:
    async with viewer(Limits(traces=3)) as view:
        for number in range(1, 6):
            assert (await view.post(batch_of(2, trace=number)))[0] == 200
        assert await trace_ids(view) == {3, 4, 5}
        assert "已让位 2 条" in await view.text("/")


async def test_traces_of_what_went_wrong_outlive_the_ordinary_ones_up_to_half_the_room() -> None:
    def failing(tracer: Tracer) -> None:
        with tracer.start_as_current_span("process email:send") as span:
            span.set_status(Status(StatusCode.ERROR))

    async with viewer(Limits(traces=4)) as view:
        await view.export("worker", failing)
        for number in range(1, 8):
            assert (await view.post(batch_of(2, trace=number)))[0] == 200
        left = await view.json("/api/traces", service="worker")
        assert len(left) == 1
        assert await trace_ids(view) - {int(left[0]["traceID"], 16)} == {5, 6, 7}
        for _ in range(3):
            await view.export("worker", failing)
        assert left[0] not in await view.json("/api/traces", service="worker")
        assert len(await view.json("/api/traces", service="worker")) == 2


async def test_spans_and_bytes_are_bounded_too() -> None:
    async with viewer(Limits(spans=50)) as view:
        for number in range(1, 21):
            await view.post(batch_of(5, trace=number))
        assert await trace_ids(view) == set(range(11, 21))
        await view.post(batch_of(40, trace=99))
        (trace,) = await view.json(f"/api/traces/{99:032x}")
        assert len(trace["spans"]) == 5  # 一条至多占十分之一
        assert trace["warnings"]
        assert "35 个跨度没有留下" in await view.text(f"/trace/{99:032x}")
    async with viewer(Limits(bytes=8_000)) as view:
        for number in range(1, 6):
            await view.post(batch_of(1, trace=number, padding=3_000))
        assert await trace_ids(view) == {4, 5}


def test_what_links_take_is_on_the_account() -> None:
    """relay 的一批链接上百条跟踪：记的账不少于真占的内存。"""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add().scope_spans.add()
    for number in range(1, 101):
        span = group.spans.add(trace_id=number.to_bytes(16), span_id=number.to_bytes(8), name="send default")
        for link in range(1, 129):
            span.links.add(trace_id=(number * 1_000 + link).to_bytes(16), span_id=link.to_bytes(8))
    body = request.SerializeToString()
    received(body)  # 先装好解码用的一切
    tracemalloc.start()
    try:
        spans = received(body)
        taken, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= sum(span.size for span in spans)


async def test_a_resent_batch_counts_once(view: Viewer) -> None:
    for _ in range(2):
        await view.post(batch_of(4, trace=7))
    (trace,) = await view.json(f"/api/traces/{7:x}")
    assert len(trace["spans"]) == 4


async def test_orphans_and_cycles_are_still_drawn(view: Viewer) -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for name, own, parent in (("orphan", 1, 9), ("one", 2, 3), ("other", 3, 2)):
        spans.add(
            trace_id=bytes(15) + b"\x05",
            span_id=own.to_bytes(8, "big"),
            parent_span_id=parent.to_bytes(8, "big"),
            name=name,
        )
    await view.post(request.SerializeToString())
    page = await view.text("/trace/5")
    assert [page.count(f'<span class="operation">{name}</span>') for name in ("orphan", "one", "other")] == [1, 1, 1]


async def test_only_local_names_are_answered(view: Viewer) -> None:
    for host, status in (("evil.example", 421), ("evil.example:80", 421), ("localhost:1", 200), ("[::1]", 200)):
        async with view.session.get("/health", headers={"Host": host}) as response:
            assert response.status == status, host
