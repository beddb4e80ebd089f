"""一套 ``kaguan up``，几件事一件接一件：跟踪凭任务号找得到；杀了 worker 不丢不重；``make demo`` 走得完全程。"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator
from tempfile import TemporaryFile
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.stack import RunningStack, clean_environment, fetch, started
from tests.support import warm
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import temporary_place

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAILS = 50
SLOTS = 20  # worker 一次在做几个，出厂的
QUICK = {
    "KAGUAN_RELAY__BACKSTOP_AGE": "5",
    "KAGUAN_SMTP__PER_SECOND": "10",  # 杀的时候多数还在排队
}
MAIL = {"to": ["zhangsan@example.com"], "subject": "planted-subject", "body": "planted-body"}
STEPS = (
    "1. 登记 200 张卡",
    "2. 向运营商同步",
    "3. 同步",
    "4. 建用户",
    "5. 发一封中文标题",
    "6. 两封有意不顺利的",
    "全部相符",
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[RunningStack]:
    with temporary_place("up") as place:
        async with started(place / "data", place / "log", extra=QUICK) as running:
            yield running


async def test_a_task_is_found_by_its_id_from_the_request_to_the_worker(stack: RunningStack) -> None:
    url = stack.env["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert url == f"http://127.0.0.1:{stack.env['KAGUAN_TRACEVIEW__PORT']}"
    assert f"跟踪      {url}/" in stack.output
    assert stack.env["KAGUAN_TELEMETRY__TRACES_URL"] == url  # 控制台据此嵌瀑布图
    status, answer = stack.request("POST", "/api/v1/tasks/email", MAIL)
    assert status == 202, answer
    task_id = str(answer["data"]["task_id"])
    tags = urllib.parse.quote(json.dumps({"messaging.message.id": task_id}))

    def whole() -> dict[str, Any] | None:
        found = json.loads(fetch(f"{url}/api/traces?service=kaguan-worker&tags={tags}"))["data"]
        names = {span["operationName"] for trace in found for span in trace["spans"]}
        return found[0] if names >= {"POST /api/v1/tasks/email", "create email:send", "process email:send"} else None

    trace = await eventually(whole)  # 各进程各送各的，请求的那一段最后才到
    assert trace is not None
    services = {process["serviceName"] for process in trace["processes"].values()}
    assert services >= {"kaguan-api", "kaguan-worker"}
    listed = fetch(f"{url}/?task={task_id}")
    assert f"/trace/{trace['traceID']}" in listed
    await eventually(lambda: "send default" in fetch(f"{url}/?task={task_id}"))  # relay 的那一批链接过来
    page = fetch(f"{url}/trace/{trace['traceID']}")
    for shown in ("kaguan-api", "kaguan-worker", "process email:send", task_id):
        assert shown in page
    assert "planted" not in page


async def test_a_healthy_mail_takes_one_line_of_each_process_in_the_logs_and_on_the_terminal(
    stack: RunningStack,
) -> None:
    """上限是量到的再加一成；访问日志两份，一份里只有受理了的。"""
    limits = {"app.log": 1_186, "access.log": 838, "access.accepted.log": 838, "terminal": 1_074}  # 字节，一封
    mails = 10
    logs = {name: stack.data / "logs" / name for name in limits if name != "terminal"} | {"terminal": stack.log}
    before = {name: path.stat().st_size for name, path in logs.items()}
    task_ids = {submit(stack, f"logged-{number}") for number in range(mails)}
    await eventually(lambda: {task(stack, name)["status"] for name in task_ids} == {"succeeded"})

    def said() -> dict[str, list[str]]:
        """这些任务的行；收件端的只说得出文件名。"""
        mine = (*task_ids, "收下一封邮件")
        more = {name: path.read_bytes()[before[name] :].decode() for name, path in logs.items()}
        found = {
            name: [line for line in text.splitlines() if any(mark in line for mark in mine)]
            for name, text in more.items()
        }
        return {name: [line for line in lines if '"GET"' not in line] for name, lines in found.items()}

    lines = await eventually(lambda: said() if len(said()["access.accepted.log"]) == mails else None)
    assert lines is not None
    by_process = Counter(json.loads(line)["process"] for line in lines["app.log"])
    assert set(by_process) == {"api", "relay", "worker", "smtp"}
    assert max(by_process.values()) <= mails, lines["app.log"]
    took = {name: sum(len(line.encode()) + 1 for line in one) / mails for name, one in lines.items()}
    assert {name: size for name, size in took.items() if size > limits[name] * 1.1} == {}


def received(stack: RunningStack) -> Counter[str]:
    """收件端各任务的邮件数：任务号取自 Message-ID。"""
    found: Counter[str] = Counter()
    for path in (stack.data / "mail").glob("*.eml"):
        head = path.read_bytes().split(b"\r\n\r\n", 1)[0].decode("ascii", "replace")
        line = next(line for line in head.split("\r\n") if line.lower().startswith("message-id:"))
        found[line.partition("<")[2].partition("@")[0]] += 1
    return found


def task(stack: RunningStack, task_id: str) -> dict[str, Any]:
    status, answer = stack.request("GET", f"/api/v1/tasks/{task_id}")
    assert status == 200, answer
    found: dict[str, Any] = answer["data"]
    return found


def submit(stack: RunningStack, name: str) -> str:
    mail = {"request_id": name, "to": [f"{name}@example.com"], "subject": "杀", "body": f"{name} 的一封"}
    status, answer = stack.request("POST", "/api/v1/tasks/email", mail)
    assert status == 202, answer
    task_id: str = answer["data"]["task_id"]
    return task_id


async def test_fifty_mails_survive_a_killed_worker(stack: RunningStack) -> None:
    task_ids: list[str] = []
    while received(stack).keys() >= {*task_ids}:  # 都寄到了，杀了也是白杀：再来
        task_ids += [submit(stack, f"kill-{number}") for number in range(len(task_ids), len(task_ids) + MAILS)]
    victim = stack.pid("worker")
    stack.send("worker", signal.SIGKILL)
    await stack.replaced("worker", victim)

    waiting = set(task_ids)

    def settled() -> bool:
        waiting.difference_update(
            [name for name in waiting if task(stack, name)["status"] in {"succeeded", "uncertain", "failed"}]
        )
        return not waiting

    await eventually(settled)
    states = {name: task(stack, name)["status"] for name in task_ids}
    mails = Counter({name: count for name, count in received(stack).items() if name in states})
    assert set(states.values()) <= {"succeeded", "uncertain"}
    assert not [name for name, count in mails.items() if count > 1]
    assert not [name for name, state in states.items() if state == "succeeded" and mails[name] != 1]
    # 只有它正在做的可能结局不明：寄的那几封，与寄到了、还没结算完的
    assert sum(state == "uncertain" for state in states.values()) <= SLOTS


@pytest.mark.measured
async def test_the_demo_walks_the_whole_flow_and_finds_everything_equal(stack: RunningStack) -> None:
    environment = clean_environment(**stack.env, KAGUAN_DATA_DIR=str(stack.data))
    with TemporaryFile() as output:
        demo = await warm.start("kaguan.dev.demo", environment=environment, output=output)
        code = await asyncio.wait_for(demo.wait(), PATIENCE)
        output.seek(0)
        text = output.read().decode()
    assert code == 0, text
    assert [step for step in STEPS if step not in text] == []
    assert text.count("trace ") >= 8
    shown = re.findall(r"(\S+)/console/tasks/(\S+)", text)
    assert [task(stack, task_id)["status"] for _, task_id in shown] == ["failed", "uncertain"]
    assert {address for address, _ in shown} == {stack.url}
