"""``kaguan up`` 的跟踪查看器：一个任务的去向，凭任务号就找得到。"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.e2e.stack import RunningStack, fetch, started
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

MAIL = {"to": ["zhangsan@example.com"], "subject": "planted-subject", "body": "planted-body"}


def submit(stack: RunningStack) -> str:
    status, answer = stack.request("POST", "/api/v1/tasks/email", MAIL)
    assert status == 202, answer
    return str(answer["data"]["task_id"])


async def test_a_task_is_found_by_its_id_from_the_request_to_the_worker(place: Path) -> None:
    async with started(place / "data", place / "log") as stack:
        url = stack.env["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert url == f"http://127.0.0.1:{stack.env['KAGUAN_TRACEVIEW__PORT']}"
        assert f"跟踪      {url}/" in stack.output
        assert stack.env["KAGUAN_TELEMETRY__TRACES_URL"] == url  # 控制台据此嵌瀑布图
        task_id = submit(stack)
        tags = urllib.parse.quote(json.dumps({"messaging.message.id": task_id}))

        def whole() -> dict[str, Any] | None:
            found = json.loads(fetch(f"{url}/api/traces?service=kaguan-worker&tags={tags}"))["data"]
            services = {process["serviceName"] for trace in found for process in trace["processes"].values()}
            return found[0] if services >= {"kaguan-api", "kaguan-worker"} else None

        trace = await eventually(whole)
        assert trace is not None
        names = {span["operationName"] for span in trace["spans"]}
        assert {"POST /api/v1/tasks/email", "create email:send", "process email:send"} <= names
        listed = fetch(f"{url}/?task={task_id}")
        assert f"/trace/{trace['traceID']}" in listed
        await eventually(lambda: "send default" in fetch(f"{url}/?task={task_id}"))  # relay 的那一批链接过来
        page = fetch(f"{url}/trace/{trace['traceID']}")
        for shown in ("kaguan-api", "kaguan-worker", "process email:send", task_id):
            assert shown in page
        assert "planted" not in page
