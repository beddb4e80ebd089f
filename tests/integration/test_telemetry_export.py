"""跟踪的导出：真实进程把跨度送到真实的 OTLP 接收端；端点不在也停得下来。"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import Any

from tests.otlp_receiver import Kind, otlp_receiver

SCRIPT = """
import json, sys
from kaguan.config.model import Telemetry
from kaguan.telemetry.propagation import traceparent_of
from kaguan.telemetry.setup import configure_telemetry, spans_dropped
from kaguan.telemetry.spans import creation_context, process_span

spans, ratio = int(sys.argv[1]), float(sys.argv[2])
telemetry = configure_telemetry(Telemetry(sample_ratio=ratio, service_namespace="tests"), "worker")
for number in range(spans):
    traceparent = traceparent_of(creation_context("email:send", f"task-{number}", "default"))
sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
with process_span("email:send", "task-x", "default", 1, sampled) as span:
    follows = span.is_recording()
telemetry()
telemetry()
print(json.dumps({
    "traceparent": traceparent, "recording": traceparent.endswith("-01"), "follows": follows,
    "dropped": spans_dropped(),
}))
"""
EXIT_TIMEOUT = 20.0  # 秒；停机自己的时限是 5 秒，余下的给解释器启动


async def run(endpoint: str | None, spans: int = 1, ratio: float = 1.0) -> dict[str, Any]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    if endpoint is not None:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, str(spans), str(ratio), env=environ, stdout=asyncio.subprocess.PIPE
    )
    output, _errors = await asyncio.wait_for(process.communicate(), EXIT_TIMEOUT)
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(output)
    return answer


async def test_spans_reach_the_endpoint_before_the_process_ends() -> None:
    async with otlp_receiver() as receiver:
        answer = await run(receiver.endpoint, spans=700)
        assert len(receiver.spans) == 701
    span = next(span for span in receiver.spans if span.attributes["messaging.message.id"] == "task-0")
    assert (span.name, span.kind, span.service) == ("create email:send", Kind.PRODUCER, "kaguan-worker")
    assert span.resource["service.namespace"] == "tests"
    assert span.resource["service.instance.id"]
    assert answer["dropped"] == 0


async def test_without_an_endpoint_nothing_is_recorded_but_ids_exist() -> None:
    answer = await run(None)
    assert answer["recording"] is False
    version, trace_id, span_id, flags = answer["traceparent"].split("-")
    assert (version, len(trace_id), len(span_id)) == ("00", 32, 16)
    assert int(flags, 16) & 1 == 0


async def test_the_ratio_decides_roots_and_the_parent_decides_the_rest() -> None:
    async with otlp_receiver() as receiver:
        answer = await run(receiver.endpoint, spans=50, ratio=0.0)
        assert [span.name for span in receiver.spans] == ["process email:send"]
    assert (answer["recording"], answer["follows"]) == (False, True)


async def test_a_refusing_endpoint_costs_spans_not_the_stop() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # 绑住而不监听：连接一律被拒
        answer = await run(f"http://127.0.0.1:{closed.getsockname()[1]}", spans=5)
    assert answer["recording"] is True
    assert answer["dropped"] >= 6


async def test_a_silent_endpoint_does_not_hold_up_the_stop() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # 收下连接，从不回答
        answer = await run(f"http://127.0.0.1:{silent.getsockname()[1]}", spans=5)
    assert answer["dropped"] >= 6


async def test_a_full_queue_drops_and_counts() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        answer = await run(f"http://127.0.0.1:{silent.getsockname()[1]}", spans=60_000)
    assert answer["dropped"] > 3_000
