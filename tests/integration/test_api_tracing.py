"""HTTP 的跨度与 exemplar：采样的请求从指标点得进它的跟踪，没采样的只有号。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from api.middleware import tracing
from kaguan.config import load_settings
from kaguan.telemetry import spans
from kaguan.telemetry.recording import RecordedSpan, RecordingProvider
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.serving import Api

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
HTTP_BUCKET = "kaguan_http_request_seconds_bucket"


@pytest.fixture
async def api(environ: dict[str, str]) -> AsyncIterator[Api]:
    async with serving(load_settings(environ)) as running:
        yield running


def record(monkeypatch: pytest.MonkeyPatch, ratio: float) -> list[RecordedSpan]:
    """换上按 ``ratio`` 采样的 tracer；返回结束的跨度。"""
    ended: list[RecordedSpan] = []
    tracer = RecordingProvider(ratio, ended.append).get_tracer("tests")
    for module in (tracing, spans):
        monkeypatch.setattr(module, "_tracer", tracer)
    return ended


async def exemplars(api: Api) -> list[str]:
    async with api.session.get("/metrics", headers=OPENMETRICS) as response:
        lines = (await response.text()).splitlines()
    return [line for line in lines if line.startswith(HTTP_BUCKET) and "trace_id=" in line]


async def submit(api: Api, **headers: str) -> dict[str, Any]:
    reply = await api.call("POST", "/tasks/sim", {"iccids": ["8986001234567890123"]}, headers)
    assert reply.status == 202
    return reply.body


async def test_a_sampled_request_is_an_exemplar_of_its_latency(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    record(monkeypatch, 1.0)
    trace_id = (await submit(api))["trace_id"]
    (line,) = await exemplars(api)
    assert f'trace_id="{trace_id}"' in line
    assert 'route="/api/v1/tasks/sim"' in line


async def test_an_unsampled_request_has_a_trace_id_but_no_exemplar_and_no_span(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = record(monkeypatch, 0.0)
    body = await submit(api)
    assert len(body["trace_id"]) == 32
    ((stored,),) = await api.rows("select traceparent from tb_task")
    assert stored.split("-")[1] == body["trace_id"]
    assert stored.endswith("-00")
    assert await exemplars(api) == []
    assert ended == []


async def test_a_request_that_matches_no_route_is_counted_as_such(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    record(monkeypatch, 1.0)
    async with api.session.get("/nowhere") as response:
        assert response.status == 404
    (line,) = await exemplars(api)
    assert 'route="unmatched"' in line


async def test_http_create_and_insert_are_one_trace(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = record(monkeypatch, 0.0)
    upstream = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await submit(api, traceparent=upstream, **{"X-Request-ID": "req-7"})
    by_name = {span.name: span for span in ended}
    server, create, insert = (
        by_name[name] for name in ("POST /api/v1/tasks/sim", "create sim:status_sync", "INSERT tb_task")
    )
    assert [span.parent.span_id for span in (create, insert) if span.parent is not None] == [
        server.context.span_id, create.context.span_id,
    ]  # fmt: skip
    assert {f"{span.context.trace_id:032x}" for span in ended} == {upstream[3:35]}
    assert server.attributes == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/api/v1/tasks/sim",
        "http.route": "/api/v1/tasks/sim",
        "http.response.status_code": 202,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "kaguan.request_id": "req-7",
    }


async def test_a_method_outside_the_conventions_gives_no_name_of_its_own(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """语义约定「HTTP spans」：约定之外的方法名只进 http.request.method_original。"""
    ended = record(monkeypatch, 1.0)
    async with api.session.request("PURGE", "/api/v1/tasks") as response:
        assert response.status == 405
    (span,) = ended
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "PURGE"
