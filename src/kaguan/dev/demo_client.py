"""演示用的客户端：找到正在运行的那一套，调它的 HTTP 接口，等任务做完，打印时间线。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from kaguan.config import Settings
from kaguan.outbox.operate.watching import SETTLED
from kaguan.outbox.vocabulary import TaskStatus

REQUEST_TIMEOUT = 15.0  # 秒
TASK_TIMEOUT = 300.0  # 秒；Control Center 方言一次只许一个调用，几页要走一会儿
POLL_INTERVAL = 0.2  # 秒


class DemoError(Exception):
    """哪一步与预期不符，或栈没有在运行；消息是一行。"""


def expect(condition: object, complaint: str) -> None:
    """不成立就带着 ``complaint`` 结束演示。

    Raises:
        DemoError: 不成立。
    """
    if not condition:
        raise DemoError(complaint)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Client:
    """``base`` 是 API 的根地址，``mail`` 是邮件收件端存信的目录。"""

    http: aiohttp.ClientSession
    base: str
    mail: Path

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """调一个接口，返回 ``data``。

        Raises:
            DemoError: 应答不是成功。
        """
        async with self.http.request(method, f"/api/v1{path}", json=body) as response:
            envelope = await response.json()
        if envelope["code"] != 0:
            status = HTTPStatus(response.status)
            raise DemoError(f"{method} {path}：{status.value} {envelope['code']} {envelope['msg']} {envelope['data']}")
        return envelope["data"]

    async def finished(self, task_id: str, expected: TaskStatus = TaskStatus.SUCCEEDED) -> dict[str, Any]:
        """等任务有结局，打印时间线与 trace_id。

        Raises:
            DemoError: 不是 ``expected`` 的结局，或太久。
        """
        try:
            async with asyncio.timeout(TASK_TIMEOUT):
                task = await self.call("GET", f"/tasks/{task_id}")
                shown = None
                while task["status"] not in SETTLED:
                    if task["progress"] not in (None, shown):
                        shown = task["progress"]
                        total = "" if shown["total"] is None else f" / {shown['total']}"
                        say(f"  进行中 {shown['done']}{total}")
                    await asyncio.sleep(POLL_INTERVAL)  # 演示的正是轮询的用法
                    task = await self.call("GET", f"/tasks/{task_id}")
        except TimeoutError:
            raise DemoError(f"任务 {task_id} 等了 {TASK_TIMEOUT:g} 秒仍未完成；看 kaguan task show {task_id}") from None
        say(f"  任务 {task['type']} {task_id} → {task['status']}   trace {task['trace_id']}")
        for stage in task["timeline"]:
            say(f"    {stage['at']}  {stage['stage']}")
        expect(task["status"] == expected, f"任务 {task_id} 应是 {expected}，却是 {task['status']}：{task['error']}")
        return dict(task)


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Client]:
    """连到 ``kaguan up`` 带起的那一套。

    Raises:
        DemoError: 没有开发令牌，或 API 连不上。
    """
    token = await asyncio.to_thread(_dev_token, settings.data_dir / "dev-token")
    base = f"http://{settings.api.host}:{settings.api.port}"
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(base, headers=headers, timeout=timeout) as http:
        try:
            yield Client(http, base, settings.data_dir / "mail")
        except (aiohttp.ClientConnectionError, TimeoutError) as error:
            raise DemoError(f"连不上 {base}（{type(error).__name__}）；请先在另一个终端运行 make run") from None


def _dev_token(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise DemoError(f"读不到 {path}（{error.strerror}）；请先在另一个终端运行 make run") from None
