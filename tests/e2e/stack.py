"""一套由真实的 ``kaguan up`` 带起的栈。"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from kaguan.dev.predecessor import command_line
from tests.support import warm, warm_up
from tests.support.eventually import PATIENCE, PATIENT, eventually
from tests.support.places import own_port
from tests.support.repository import ROOT

KAGUAN = (sys.executable, "-c", "from kaguan.cli.app import main; main()")
READY = "卡管已就绪"
LEAP_DAY = "0 0 29 2 *"  # 每小时过五分的那个计划不来凑热闹：赶上风浪就多一个失败的


def rare_schedules() -> list[dict[str, Any]]:
    """开发的计划，都改到闰日。"""
    configured = yaml.safe_load((ROOT / "configs" / "config.dev.yaml").read_text("utf-8"))
    return [{**schedule, "cron": LEAP_DAY} for schedule in configured["schedules"]]


UNHURRIED = {**PATIENT, "KAGUAN_SCHEDULES": json.dumps(rare_schedules())}


def clean_environment(**more: str) -> dict[str, str]:
    """不带本机 KAGUAN_* 的环境。"""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KAGUAN_", "OTEL_"))}
    return kept | more


def kaguan(*arguments: str, data: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """跑一条命令到结束；除数据目录外不给任何地址。"""
    command, descriptor, asking = warm.kaguan()
    return subprocess.run(
        [*command, *arguments],
        env=clean_environment(KAGUAN_DATA_DIR=str(data), **asking, **more),
        cwd=ROOT,
        pass_fds=[descriptor],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@dataclass(slots=True)
class RunningStack:
    """已就绪的一套。"""

    process: warm.Process
    data: Path
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    @property
    def token(self) -> str:
        return (self.data / "dev-token").read_text().strip()

    @property
    def env(self) -> dict[str, str]:
        return {key: value or "" for key, value in dotenv_values(self.data / "env").items()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.env['KAGUAN_API__PORT']}"

    def pid(self, name: str) -> int:
        """它死了、还没有重启的那一刻没有：0。"""
        try:
            return int((self.data / "pids" / f"{name}.pid").read_text())
        except FileNotFoundError:
            return 0

    def pids(self) -> dict[str, int]:
        names = [path.stem for path in (self.data / "pids").glob("*.pid")]
        return {name: pid for name in names if (pid := self.pid(name))}

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """带开发令牌的一个请求；连不上时状态为 0。"""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE / 3) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:
            return 0, None

    def ready(self) -> bool:
        return self.request("GET", "/health/ready")[0] == 200

    def owner(self, name: str) -> int:
        """子进程以哪个用户号在运行。"""
        return Path(f"/proc/{self.pid(name)}").stat().st_uid

    def send(self, name: str, number: signal.Signals) -> None:
        """给子进程 ``name`` 一个信号；它此刻要在：0 是自己的这一组。"""
        pid = self.pid(name)
        assert pid, self.output
        os.kill(pid, number)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def gone(self) -> int:
        """等监督者退出；返回退出码。"""
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    async def replaced(self, name: str, pid: int) -> None:
        """等 ``name`` 有了新的进程。"""
        await eventually(lambda: self.pid(name) not in {0, pid})

    async def nothing_left(self, pids: Mapping[str, int]) -> None:
        await eventually(lambda: not [name for name, pid in pids.items() if command_line(pid)])


@dataclass(frozen=True, slots=True)
class Own:
    """现起的一个 ``kaguan``。

    Attributes:
        program: 怎样起。
        folder: 在哪个目录里。
        user: 要换成的用户号。
    """

    program: tuple[str, ...]
    folder: Path
    user: int | None = None


@asynccontextmanager
async def started(
    data: Path,
    log: Path,
    *,
    own: Own | None = None,
    extra: Mapping[str, str] | None = None,
    named_ports: bool = True,
    as_shipped: bool = False,
) -> AsyncIterator[RunningStack]:
    """起一套，等它就绪；离开时体面地停（已停的不管）。

    Args:
        data: 数据目录。
        log: 它的输出写到哪里。
        own: 现起一个；没有给，由导入好了的解释器分出来，子进程也是。
        extra: 另加的环境变量。
        named_ports: 点名要空闲的端口；否则由它自己挑，公布的优先。
        as_shipped: 各个时限、定时的任务照出厂的；否则时限放宽，定时的都到闰日才到时。
    """
    # 公布的端口留给真正的一套；并行的用例各用各的
    ports = ("KAGUAN_API__PORT", "KAGUAN_RELAY__METRICS_PORT", "KAGUAN_WORKER__METRICS_PORT") if named_ports else ()
    environment = clean_environment(
        **{"KAGUAN_DATA_DIR": str(data), "KAGUAN_SIMULATOR__CARDS": "1000"}
        | {name: str(own_port()) for name in ports}
        | ({} if as_shipped else UNHURRIED)
        | dict(extra or {})
    )
    with log.open("wb") as output:
        if own:
            options: dict[str, Any] = {}
            if own.user is not None:
                options = {"user": own.user, "group": own.user, "extra_groups": []}
            process: warm.Process = await asyncio.create_subprocess_exec(
                *own.program, "up", env=environment, cwd=own.folder, stdout=output, stderr=output, **options
            )
        else:
            process = await warm.start(warm_up.__name__, environment=environment, output=output, directory=ROOT)
    stack = RunningStack(process, data, log)
    try:
        await eventually(lambda: READY in stack.output or process.returncode is not None)
        assert process.returncode is None, stack.output
        yield stack
    finally:
        if process.returncode is None:
            stack.signal(signal.SIGINT)
            try:
                await stack.gone()
            finally:  # 停不下来的，用例已经失败；不让它占着处理器，连累别的
                if process.returncode is None:
                    process.kill()
                await process.wait()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
        return text
