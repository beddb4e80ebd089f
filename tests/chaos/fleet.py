"""战役里的进程：启动、看住、死了就补、按名字使坏。每个都随本进程而死（PR_SET_PDEATHSIG）。"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from kaguan.dev.program import Program
from tests.chaos.exits import innocent
from tests.support import warm
from tests.support.repository import ROOT

RESTART_DELAY = 0.2  # 秒
STOP_TIMEOUT = 32.0  # 秒：承诺是 30 秒之内停下


@dataclass(frozen=True, slots=True)
class Release:
    """哪一份代码：哪个环境的 ``python``，在 ``folder`` 里启动，``path`` 排在这个环境的包前面。"""

    python: str
    folder: Path
    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.path)}


OURS = Release(sys.executable, ROOT, ROOT / "src")  # 不管装的是哪一份


@dataclass(eq=False, slots=True)
class Unit:
    """一个进程的一次次运行，跑 ``release``。``crashes`` 记说不过去的退出（见 :mod:`tests.chaos.exits`）。"""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    release: Release = OURS
    process: warm.Process | None = None
    crashes: list[int] = field(default_factory=list)
    restarts: int = 0
    _sent: set[signal.Signals] = field(default_factory=set)  # 发给眼下这个进程的
    _born: float = 0.0
    _keeper: asyncio.Task[None] | None = None
    _stopping: bool = False

    @property
    def pid(self) -> int | None:
        process = self.process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep-{self.name}")

    async def _spawn(self) -> None:
        self._sent, self._born = set(), time.monotonic()
        with self.log.open("ab") as log:
            if self.release is OURS and self.argv[:2] == (OURS.python, "-m"):
                _, _, module, *arguments = self.argv
                self.process = await warm.start(module, *arguments, environment=self.environment, output=log)
                return
            own = {**self.environment, **self.release.environment}
            program = Program(self.name, self.argv, self.release.folder, environment=own)
            self.process = await asyncio.create_subprocess_exec(
                *program.argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, **program.spawn_options()
            )

    async def _keep(self) -> None:
        while self.process is not None:
            code = await self.process.wait()
            if self._stopping:
                return
            if not self._innocent(code):
                self.crashes.append(code)
            await asyncio.sleep(RESTART_DELAY)
            self.restarts += 1
            await self._spawn()

    def _innocent(self, code: int) -> bool:
        return innocent(code, self._sent, time.monotonic() - self._born)

    def twin(self, name: str, release: Release) -> Unit:
        """同样的一个，换一份代码；还没有启动。"""
        argv = (release.python, *self.argv[1:])
        return Unit(name, argv, self.environment, self.log.with_name(f"{name}.log"), release)

    def send(self, number: signal.Signals) -> bool:
        """发信号；进程不在是 False。"""
        pid = self.pid
        if pid is None:
            return False
        self._sent.add(number)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def send_to(self, pid: int, number: signal.Signals) -> None:
        """发给当时的那个进程，如今若已换了就算了。"""
        if self.pid == pid:
            self.send(number)

    async def stop(self, timeout: float = STOP_TIMEOUT) -> str:
        """体面地停；返回哪里不体面，没有即空。"""
        self._stopping = True
        complaint = ""
        if self.process is not None and self.process.returncode is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            try:
                code = await asyncio.wait_for(self.process.wait(), timeout)
                complaint = "" if self._innocent(code) else f"{self.name}：退出码 {code}"
            except TimeoutError:
                complaint = f"{self.name}：没停下"
                self.send(signal.SIGKILL)
                await self.process.wait()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        return complaint


@dataclass(slots=True)
class Fleet:
    """全部受害者，按种类。"""

    units: dict[str, list[Unit]] = field(default_factory=dict)

    def all(self) -> list[Unit]:
        return [unit for units in self.units.values() for unit in units]

    async def start(self) -> None:
        await asyncio.gather(*(unit.start() for unit in self.all()))

    async def stop(self) -> list[str]:
        """全部停下；返回没能干净地停下的。"""
        return [complaint for complaint in await asyncio.gather(*(unit.stop() for unit in self.all())) if complaint]

    def crashes(self) -> Counter[str]:
        return Counter(f"{unit.name}：退出码 {code}" for unit in self.all() for code in unit.crashes)
