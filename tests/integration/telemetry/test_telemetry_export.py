"""跟踪的导出：真实进程把跨度送到真实的 OTLP 接收端；标准的 OTEL_* 变量照用；端点不在也停得下来。"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import pytest

from kaguan.config import ConfigurationError
from kaguan.config.model import Telemetry
from kaguan.product.exit_codes import ExitCode
from kaguan.telemetry.setup import configure_telemetry
from tests.support import warm
from tests.support.eventually import PATIENCE
from tests.support.otlp_receiver import Kind, otlp_receiver

OTHERS = 3  # 创建之外的跨度：跟着父级的、失败的、重试的


async def run(
    endpoint: str | None, variables: Mapping[str, str] | None = None, *, spans: int = 1, ratio: float = 1.0
) -> dict[str, Any]:
    """跑完那一段；它的回答，连同 ``log``：此前的日志行。"""
    given = dict(variables or {})
    if endpoint is not None:
        given["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    code, said = await ended("tests.support.span_sender", str(spans), str(ratio), environment=given)
    assert code == 0, said
    *log, answer = (json.loads(line) for line in said.splitlines())
    return {**answer, "log": log}


async def ended(module: str, *arguments: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """跑完，它的退出码与说的。"""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    with TemporaryFile() as output:
        process = await warm.start(module, *arguments, environment={**environ, **environment}, output=output)
        code = await asyncio.wait_for(process.wait(), PATIENCE)
        output.seek(0)
        return code, output.read().decode()


@contextmanager
def silent() -> Iterator[str]:
    """收下连接、从不回答的端点。"""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.measured
async def test_spans_reach_the_endpoint_before_the_process_ends() -> None:
    async with otlp_receiver() as receiver:
        answer = await run(receiver.endpoint, spans=600)  # 一批装不下
        assert len(receiver.spans) == 600 + OTHERS
    span = next(span for span in receiver.spans if span.attributes["messaging.message.id"] == "task-0")
    assert (span.name, span.kind, span.service) == ("create email:send", Kind.PRODUCER, "kaguan-worker")
    assert span.resource["service.namespace"] == "tests"
    assert span.resource["service.instance.id"]
    assert span.resource["telemetry.sdk.name"] == "opentelemetry"
    assert (answer["dropped"], answer["log"]) == (0, [])


@pytest.mark.measured
async def test_without_an_endpoint_nothing_is_recorded_but_ids_exist() -> None:
    answer = await run(None)
    version, trace_id, span_id, flags = answer["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id)) == ("00", 32, 16)
    assert int(flags, 16) & 1 == 0
    assert (answer["follows"], answer["dropped"]) == (False, 0)


async def test_the_ratio_decides_roots_the_parent_the_rest_and_what_goes_wrong_is_kept() -> None:
    async with otlp_receiver() as receiver:
        answer = await run(receiver.endpoint, spans=50, ratio=0.0)
    by_task = {span.attributes["messaging.message.id"]: span for span in receiver.spans}
    assert set(by_task) == {"task-x", "task-y", "task-z"}
    assert by_task["task-y"].failed
    assert {task: span.attributes.get("kaguan.trace.kept") for task, span in by_task.items()} == {
        "task-x": None,
        "task-y": "error",
        "task-z": "retry",
    }
    assert (answer["sampled"], answer["follows"]) == (False, True)


@pytest.mark.measured
async def test_a_refusing_endpoint_costs_spans_not_the_stop() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # 绑住而不监听：连接一律被拒
        answer = await run(f"http://127.0.0.1:{closed.getsockname()[1]}", spans=5)
    assert answer["sampled"] is True
    assert answer["dropped"] == 5 + OTHERS
    assert answer["log"][-1]["event"] == "有跨度没有送出"


@pytest.mark.measured
async def test_a_full_queue_drops_and_counts_without_a_line_for_each() -> None:
    """端点收下连接、从不回答，也不拖住停机。"""
    with silent() as endpoint:
        answer = await run(endpoint, {"OTEL_BSP_MAX_QUEUE_SIZE": "600"}, spans=1_400)
    assert answer["dropped"] == 1_400 + OTHERS
    assert answer["log"][-1]["dropped"] == 1_400 + OTHERS
    repeated = Counter((line["logger"], line["event"]) for line in answer["log"])
    assert max(repeated.values()) <= 6  # 折叠之后（kaguan.logging.repeats）


async def test_the_standard_variables_are_the_sdk_s_own() -> None:
    """端点、请求头、压缩、批的大小、跨度的上限、资源：环境里给的为准。"""
    async with otlp_receiver() as receiver:
        await run(
            None,
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.endpoint}/v1/traces",
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-tenant=blue",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
                "OTEL_BSP_SCHEDULE_DELAY": "60000",
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2",
                "OTEL_SERVICE_NAME": "mine",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=lab,service.namespace=theirs",
            },
            spans=97,
        )
    assert len(receiver.spans) == 97 + OTHERS
    assert receiver.batches == [10] * 10
    assert {headers.get("x-tenant") for headers in receiver.headers} == {"blue"}
    assert {headers.get("Content-Encoding", "none") for headers in receiver.headers} == {"gzip"}
    assert {len(span.attributes) for span in receiver.spans} == {2}
    resource = receiver.spans[0].resource
    assert (resource["service.name"], resource["service.namespace"]) == ("mine", "theirs")
    assert resource["deployment.environment.name"] == "lab"
    assert resource["service.version"]


async def test_the_time_limit_of_one_export_is_the_standard_one() -> None:
    """这个 SDK 的单位是秒。到时就放弃，而不是等到停机的时限。"""
    with silent() as endpoint:
        answer = await run(endpoint, {"OTEL_EXPORTER_OTLP_TIMEOUT": "0.2"})
    assert any("Failed to export" in line["event"] for line in answer["log"])


async def test_tracing_can_be_switched_off() -> None:
    async with otlp_receiver() as receiver:
        answer = await run(receiver.endpoint, {"OTEL_SDK_DISABLED": "true"})
    assert receiver.spans == []
    assert answer["sampled"] is False


@pytest.mark.measured
async def test_a_sampler_named_by_the_environment_replaces_ours() -> None:
    async with otlp_receiver() as receiver:
        await run(receiver.endpoint, {"OTEL_TRACES_SAMPLER": "always_off"}, spans=4)
        assert receiver.spans == []
        await run(receiver.endpoint, {"OTEL_TRACES_SAMPLER": "always_on"}, spans=4, ratio=0.0)
        assert len(receiver.spans) == 4 + OTHERS


UNUSABLE = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "many",
    "OTEL_TRACES_EXPORTER": "nowhere",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "-1",
}


@pytest.mark.parametrize("variable", UNUSABLE)
def test_a_value_that_cannot_be_used_is_refused_with_the_name_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(variable, UNUSABLE[variable])
    with pytest.raises(ConfigurationError, match=f"(?s){variable}.*{UNUSABLE[variable]}"):
        configure_telemetry(Telemetry(), "relay")


@pytest.mark.measured
async def test_a_value_that_cannot_be_used_stops_the_process(environ: dict[str, str]) -> None:
    given = environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "nowhere"}
    code, said = await ended("relay", environment=given)
    assert code == ExitCode.USAGE
    assert "OTEL_TRACES_EXPORTER" in said
    assert "nowhere" in said


async def test_any_installed_exporter_can_be_named() -> None:
    async with otlp_receiver() as receiver:
        given = {"OTEL_TRACES_EXPORTER": "otlp,console", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        code, said = await ended("tests.support.span_sender", "1", "1.0", environment=given)
    assert code == 0
    assert len(receiver.spans) == said.count('"span_id"') == 1 + OTHERS
