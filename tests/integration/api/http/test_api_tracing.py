"""HTTP 的跨度与 exemplar：采样的请求从指标点得进它的跟踪，没采样的只有号。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kaguan.config import load_settings
from kaguan.telemetry.unsampled import KEPT
from tests.support.serving import Api, serving
from tests.support.tracing import only

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
HTTP_BUCKET = "kaguan_http_request_seconds_bucket"


@pytest.fixture
async def api(environ: dict[str, str]) -> AsyncIterator[Api]:
    async with serving(load_settings(environ)) as running:
        yield running


async def exemplars(api: Api) -> list[str]:
    async with api.session.get("/metrics", headers=OPENMETRICS) as response:
        lines = (await response.text()).splitlines()
    return [line for line in lines if line.startswith(HTTP_BUCKET) and "trace_id=" in line]


async def submit(api: Api, **headers: str) -> dict[str, Any]:
    reply = await api.call("POST", "/tasks/sim", {"iccids": ["8986001234567890123"]}, headers)
    assert reply.status == 202
    return reply.body


async def test_a_sampled_request_is_an_exemplar_of_its_latency(api: Api, exported: InMemorySpanExporter) -> None:
    trace_id = (await submit(api))["trace_id"]
    assert f"{only(exported, 'POST /api/v1/tasks/sim').get_span_context().trace_id:032x}" == trace_id  # type: ignore[union-attr]
    (line,) = await exemplars(api)
    assert f'trace_id="{trace_id}"' in line
    assert 'route="/api/v1/tasks/sim"' in line


async def test_an_unsampled_request_has_a_trace_id_but_no_exemplar_and_no_span(
    api: Api, faults: InMemorySpanExporter
) -> None:
    body = await submit(api)
    assert len(body["trace_id"]) == 32
    ((stored,),) = await api.rows("select traceparent from vw_task")
    assert stored.split("-")[1] == body["trace_id"]
    assert not int(stored[-2:], 16) & 1
    assert await exemplars(api) == []
    assert faults.get_finished_spans() == ()


async def test_a_request_that_matches_no_route_is_counted_as_such(api: Api, exported: InMemorySpanExporter) -> None:
    async with api.session.get("/nowhere") as response:
        assert response.status == 404
    assert only(exported, "GET").status.is_unset
    (line,) = await exemplars(api)
    assert 'route="unmatched"' in line


async def test_http_create_and_insert_are_one_trace(api: Api, faults: InMemorySpanExporter) -> None:
    upstream = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await submit(api, traceparent=upstream, **{"X-Request-ID": "req-7"})
    server, create, insert = (
        only(faults, name) for name in ("POST /api/v1/tasks/sim", "create sim:status_sync", "INSERT tb_task")
    )
    assert [span.parent.span_id for span in (create, insert) if span.parent is not None] == [
        server.context.span_id,
        create.context.span_id,
    ]
    assert {f"{span.context.trace_id:032x}" for span in faults.get_finished_spans()} == {upstream[3:35]}
    assert dict(server.attributes or {}) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": "/api/v1/tasks/sim",
        "http.route": "/api/v1/tasks/sim",
        "http.response.status_code": 202,
        "client.address": "127.0.0.1",
        "network.protocol.version": "1.1",
        "kaguan.request_id": "req-7",
    }


async def test_a_request_that_failed_is_sent_though_its_trace_was_not_sampled(
    api: Api, faults: InMemorySpanExporter
) -> None:
    await api.rows("alter view vw_task rename to vw_gone")
    reply = await api.call("GET", f"/tasks/{UUID(int=1)}")
    assert reply.status == 500
    (span,) = faults.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert f"{span.get_span_context().trace_id:032x}" == reply.body["trace_id"]  # type: ignore[union-attr]
    assert (attributes["error.type"], attributes[KEPT]) == ("UndefinedTable", "error")
    assert (attributes["http.response.status_code"], attributes["http.request.method"]) == (500, "GET")
    assert await exemplars(api) == []


@pytest.mark.parametrize("deed", ["retry", "cancel"])
async def test_what_a_person_decides_about_a_task_is_traced_whatever_the_ratio(
    api: Api, faults: InMemorySpanExporter, deed: str
) -> None:
    task_id = (await submit(api))["data"]["task_id"]
    assert faults.get_finished_spans() == ()
    await api.call("POST", f"/tasks/{task_id}/{deed}")
    server = only(faults, f"POST /api/v1/tasks/{{task_id}}/{deed}")
    assert (server.attributes or {})[KEPT] == "decision"
    assert any(span.parent == server.get_span_context() for span in faults.get_finished_spans())  # 它的语句


async def test_a_method_outside_the_conventions_gives_no_name_of_its_own(
    api: Api, exported: InMemorySpanExporter
) -> None:
    """语义约定「HTTP spans」：约定之外的方法名只进 http.request.method_original。"""
    async with api.session.request("PURGE", "/api/v1/tasks") as response:
        assert response.status == 405
    attributes = only(exported, "HTTP").attributes or {}
    assert attributes["http.request.method"] == "_OTHER"
    assert attributes["http.request.method_original"] == "PURGE"
