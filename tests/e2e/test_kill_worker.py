"""有 50 封邮件在排队时 ``kill -9`` worker：一封不丢，一封不重。"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.e2e.stack import RunningStack, started
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

MAILS = 50
QUICK = {
    "KAGUAN_WORKER__LEASE": "3",
    "KAGUAN_RELAY__BACKSTOP_AGE": "5",
    "KAGUAN_SMTP__PER_SECOND": "10",  # 杀的时候多数还在排队
}


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


def submit(stack: RunningStack, number: int) -> str:
    mail = {
        "request_id": f"kill-{number}",
        "to": [f"user{number}@example.com"],
        "subject": "杀",
        "body": f"第 {number} 封",
    }
    status, answer = stack.request("POST", "/api/v1/tasks/email", mail)
    assert status == 202, answer
    task_id: str = answer["data"]["task_id"]
    return task_id


async def test_fifty_mails_survive_a_killed_worker(place: Path) -> None:
    async with started(place / "data", place / "log", extra=QUICK) as stack:
        task_ids = [submit(stack, number) for number in range(MAILS)]
        victim = stack.pid("worker")
        assert len(received(stack)) < MAILS
        os.kill(victim, signal.SIGKILL)
        await stack.replaced("worker", victim)

        waiting = set(task_ids)

        def settled() -> bool:
            waiting.difference_update(
                [name for name in waiting if task(stack, name)["status"] in {"succeeded", "uncertain", "failed"}]
            )
            return not waiting

        await eventually(settled)
        states = {name: task(stack, name)["status"] for name in task_ids}
        mails = received(stack)
        assert set(states.values()) <= {"succeeded", "uncertain"}
        assert set(mails) <= set(task_ids)
        assert not [name for name, count in mails.items() if count > 1]
        assert not [name for name, state in states.items() if state == "succeeded" and mails[name] != 1]
        # 只有正拿着 SMTP 连接的几封可能结局不明
        assert sum(state == "uncertain" for state in states.values()) <= 4
