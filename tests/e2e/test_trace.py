"""一条跟踪走完全程：真实的 API、relay、worker 三个进程，真实的 PostgreSQL、Valkey、SMTP 收件端与 OTLP 接收端。"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.dev.smtp_sink import smtp_sink
from kaguan.tokens import service as tokens
from tests.e2e.stack import rare_schedules
from tests.support import warm
from tests.support.eventually import PATIENCE, eventually
from tests.support.otlp_receiver import Kind, OtlpReceiver, ReceivedSpan, otlp_receiver
from tests.support.places import own_port

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{CLIENT_SPAN}-01"
SECRETS = ("planted-subject", "planted-body", "planted@example.com")
STORY = {"受理任务", "交给队列", "任务完成"}  # 每个进程一行
REQUEST_ID = "followed-1"
WORKED = {
    "kaguan_relay_to_start_seconds",
    "kaguan_task_run_seconds",
    "kaguan_accept_to_effect_seconds",
    "kaguan_smtp_send_seconds",
}
METRICS_HOST = "127.0.0.2"  # 不是默认的那个，而是配置里写的


@dataclass(frozen=True, slots=True)
class Stack:
    """跑着的三个进程。"""

    url: str
    token: str
    receiver: OtlpReceiver
    directory: Path
    metrics_ports: tuple[int, int, int]  # api、relay、worker

    async def exemplifies(self, port: int, metrics: set[str]) -> bool:
        """该进程的直方图里带着 exemplar 的，限于我们这条跟踪，是不是就是 ``metrics``。"""
        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.get(f"http://{METRICS_HOST}:{port}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        return {line.partition("_bucket")[0] for line in lines if f'trace_id="{TRACE_ID}"' in line} == metrics

    async def submit(self, **fields: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}", "traceparent": TRACEPARENT}
        body = {"to": [SECRETS[2]], "subject": SECRETS[0], "body": SECRETS[1], **fields}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.post(f"{self.url}/api/v1/tasks/email", json=body) as response,
        ):
            assert response.status == 202, await response.text()
            data: dict[str, Any] = (await response.json())["data"]
            return data

    async def trace_of(self, task_id: str) -> str:
        """API 回答里的 trace_id。"""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.get(f"{self.url}/api/v1/tasks/{task_id}") as response,
        ):
            return str((await response.json())["data"]["trace_id"])

    async def span(self, name: str, task_id: str) -> ReceivedSpan:
        return await self.receiver.wait_for(
            lambda span: span.name == name and span.attributes.get("messaging.message.id") == task_id
        )


@asynccontextmanager
async def process(module: str, environ: dict[str, str], directory: Path) -> AsyncIterator[None]:
    """起一个我们的进程，离开时用 SIGTERM 停下，须正常退出。"""
    with (directory / f"{module}.out").open("wb") as output:
        child = await warm.start(module, environment=environ, output=output)
    try:
        yield
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(child.wait(), PATIENCE)
    assert code == 0, (directory / f"{module}.out").read_text("utf-8")


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as client, client.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


@pytest.fixture
async def stack(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Stack]:
    port, own, relay, worker = own_port(), own_port(), own_port(), own_port()
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as opened:
        receiver = await opened.enter_async_context(otlp_receiver())
        smtp = await opened.enter_async_context(smtp_sink(tmp_path / "mail", "127.0.0.1", 0))
        closed = f"http://127.0.0.1:{own_port()}"
        environ |= {
            "KAGUAN_API__PORT": str(port),
            "KAGUAN_API__METRICS_PORT": str(own),
            "KAGUAN_RELAY__METRICS_PORT": str(relay),
            "KAGUAN_WORKER__METRICS_PORT": str(worker),
            **{f"KAGUAN_{group}__METRICS_HOST": METRICS_HOST for group in ("API", "RELAY", "WORKER")},
            "KAGUAN_SMTP__URL": f"smtp://127.0.0.1:{smtp}",
            "KAGUAN_LOGGING__DIRECTORY": str(tmp_path / "logs"),
            "KAGUAN_SCHEDULES": json.dumps(rare_schedules()),
            "KAGUAN_CARRIERS__ONELINK__BASE_URL": closed,
            "KAGUAN_CARRIERS__CONTROL_CENTER__BASE_URL": closed,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        }
        kaguan = {key: value for key, value in environ.items() if key.startswith("KAGUAN_")}
        async with open_pool(load_settings(kaguan).database, "test") as pool, pool.connection() as connection:
            issued = await tokens.create(connection, "test", tokens.SCOPES)
        for module in ("api", "relay", "workers"):
            await opened.enter_async_context(process(module, environ, tmp_path))
        for ready in (
            f"{url}/health/ready",
            *(f"http://{METRICS_HOST}:{port}/health/live" for port in (own, relay, worker)),
        ):
            answered: Callable[[], bool | Awaitable[bool]] = partial(answers, ready)
            await eventually(answered)
        yield Stack(url, issued.token, receiver, tmp_path, (own, relay, worker))


def logged(directory: Path) -> list[dict[str, Any]]:
    files = [directory / "logs" / name for name in ("app.log", "access.log")]
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


async def test_one_trace_shows_the_whole_way(stack: Stack) -> None:
    task_id = (await stack.submit(request_id=REQUEST_ID))["task_id"]
    creation = await stack.span("create email:send", task_id)
    processing = await stack.span("process email:send", task_id)
    server = await stack.receiver.wait_for(lambda span: span.kind is Kind.SERVER and span.trace_id == TRACE_ID)
    sending = await stack.receiver.wait_for(lambda span: creation.id in span.links)

    assert (server.service, server.parent_id) == ("kaguan-api", CLIENT_SPAN)
    assert server.name == "POST /api/v1/tasks/email"
    assert (creation.service, creation.kind, creation.parent_id) == ("kaguan-api", Kind.PRODUCER, server.span_id)
    assert (sending.service, sending.kind, sending.parent_id) == ("kaguan-relay", Kind.CLIENT, "")
    assert sending.name.startswith("send")
    assert sending.trace_id != TRACE_ID
    handed = await stack.receiver.wait_for(lambda span: span.trace_id == TRACE_ID and span.service == "kaguan-relay")
    assert (handed.name, handed.kind, handed.parent_id) == ("send email:send", Kind.CLIENT, creation.span_id)
    assert handed.links == (sending.id,)  # 等在发件箱里与等在队列里的，由它隔开
    assert (processing.service, processing.kind) == ("kaguan-worker", Kind.CONSUMER)
    assert (processing.trace_id, processing.parent_id) == (TRACE_ID, creation.span_id)
    assert processing.attributes["kaguan.task.outcome"] == "succeeded"
    assert not processing.failed

    below = {span.name: span for span in stack.receiver.children_of(processing)}
    assert any("smtp" in name.lower() for name in below), below.keys()
    accepted = [
        span.name
        for span in stack.receiver.spans
        if span.service == "kaguan-api" and "db.system.name" in span.attributes
    ]
    handled = [
        span for span in stack.receiver.spans if span.service == "kaguan-worker" and "db.system.name" in span.attributes
    ]
    assert any("tb_task" in name for name in accepted), accepted
    assert handled
    assert {span.trace_id for span in handled} == {TRACE_ID}

    batches = {span.trace_id for span in stack.receiver.spans if span.name.startswith("send")}
    assert {span.trace_id for span in stack.receiver.spans if span.service == "kaguan-relay"} <= batches  # 空转不留痕

    api, relay, worker = stack.metrics_ports
    # 跨度先到，提交之后才记时长
    await eventually(partial(stack.exemplifies, api, {"kaguan_http_request_seconds"}))
    await eventually(partial(stack.exemplifies, relay, {"kaguan_commit_to_relay_seconds"}))
    await eventually(partial(stack.exemplifies, worker, WORKED))
    assert await stack.trace_of(task_id) == TRACE_ID
    await check_logs(stack, task_id)
    for span in stack.receiver.spans:
        assert not [secret for secret in SECRETS if secret in span.text], span.name


async def check_logs(stack: Stack, task_id: str) -> None:
    """每个进程的日志都能由同一个 trace_id 或 task_id 找到；worker 的每行说得出哪种任务，末一行说得出多久。"""

    def found() -> bool:
        lines = logged(stack.directory)
        told = {line["event"] for line in lines if line.get("task_id") == task_id}
        return told >= STORY and any(line.get("trace_id") == TRACE_ID and line.get("path") for line in lines)

    await eventually(found)
    app = [json.loads(line) for line in (stack.directory / "logs" / "app.log").read_text("utf-8").splitlines()]
    story = [line for line in app if line.get("task_id") == task_id and line["event"] in STORY]
    # 次序由跨度看：写这一行之前停顿片刻的，先后反过来
    assert sorted((line["process"], line["event"]) for line in story) == [
        ("api", "受理任务"),
        ("relay", "交给队列"),
        ("worker", "任务完成"),
    ]
    assert {line["trace_id"] for line in story} == {TRACE_ID}
    assert {line.get("request_id") for line in story if line["process"] != "relay"} == {REQUEST_ID}
    assert {line["task_type"] for line in story if line["process"] == "worker"} == {"email:send"}
    (ended,) = [line for line in story if line["event"] == "任务完成"]
    assert ended["duration_ms"] > 0
