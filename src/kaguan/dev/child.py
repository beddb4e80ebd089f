"""一个受监督的子进程：启动、等就绪、意外退出就带退避重启、体面地停。"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from kaguan.dev.privileges import write_private
from kaguan.dev.program import READY_POLL, PortTakenError, StartError, wait_until_ready

if TYPE_CHECKING:
    from collections import deque
    from pathlib import Path

    from kaguan.dev.output import Output
    from kaguan.dev.program import Program

log = structlog.get_logger(__name__)

BACKOFF_BASE = 0.5  # 秒
BACKOFF_CAP = 30.0  # 秒
STABLE_AFTER = 30.0  # 秒；活过这么久，退避从头算起
EXIT_GRACE = 5.0  # 秒；强杀之后等内核收尾
PORT_GRACE = 5.0  # 秒；等它的子进程放开端口


class Child:
    """``program`` 的一次次运行。"""

    def __init__(self, program: Program, output: Output, pid_directory: Path) -> None:
        self.program = program
        self._output = output
        self._pid_file = pid_directory / f"{program.name}.pid"
        self._process: asyncio.subprocess.Process | None = None
        self._follower: asyncio.Task[deque[str]] | None = None
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.alive() else None

    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """启动并等到就绪。

        Raises:
            PortTakenError: 替它挑的端口被别的程序占去。
            StartError: 起不来；消息里带它最后说的一行。
        """
        if (port := self.program.taken_port()) is not None:
            raise PortTakenError(self.program.name, port)
        await self._spawn()
        try:
            await wait_until_ready(self.program, self.alive)
        except StartError as error:
            alive = self.alive()
            await self.stop()
            if (port := self.program.taken_port()) is not None:
                raise PortTakenError(self.program.name, port) from None
            last = "" if alive or self._follower is None else _last_words(await self._follower)
            raise StartError(f"{error}{last}") from None

    async def keep(self) -> PortTakenError | None:
        """看住它直到 ``stop``：意外退出就重启，退避按 0.5、1、2 … 30 秒递增。

        它死后端口被别的程序占去，重启也没有用：交还给调用者去另挑。
        """
        failures = 0
        while self._process is not None:
            started = time.monotonic()
            code = await self._process.wait()
            self._pid_file.unlink(missing_ok=True)
            if self._stopping.is_set():
                return None
            failures = 1 if time.monotonic() - started > STABLE_AFTER else failures + 1
            delay = min(BACKOFF_CAP, BACKOFF_BASE * 2 ** (failures - 1))
            log.warning("%s 意外退出，稍后重启", self.program.name, reason=_reason(code), restart_in=delay)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return None
            if (port := await self._lost_port()) is not None:
                return PortTakenError(self.program.name, port)
            await self._restart()
        return None

    async def _lost_port(self) -> int | None:
        """等一会儿再断定：也许是它的子进程（API 的多个进程）还没放手。"""
        deadline = time.monotonic() + PORT_GRACE
        while (port := self.program.taken_port()) is not None:
            if self._stopping.is_set() or time.monotonic() >= deadline:
                return port
            await asyncio.sleep(READY_POLL)  # 端口空出来没有通知，只能再看
        return None

    async def _restart(self) -> None:
        try:
            await self._spawn()
            await wait_until_ready(self.program, self.alive)
        except (StartError, OSError) as error:
            log.warning("%s 重启后没有就绪", self.program.name, reason=str(error))
        else:
            log.info("%s 已重启", self.program.name, child_pid=self.pid)

    async def _spawn(self) -> None:
        program = self.program
        self._process = await asyncio.create_subprocess_exec(
            *program.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            **program.spawn_options(),
        )
        write_private(self._pid_file, f"{self._process.pid}\n")
        if self._process.stdout is not None:
            self._follower = asyncio.create_task(self._output.follow(program.name, self._process.stdout))

    async def stop(self, limit: float | None = None) -> None:
        """体面地停；到时（秒）未停就强杀。可重复调用。"""
        self._stopping.set()
        if self._process is None:
            return
        timeout = self.program.stop_timeout if limit is None else min(limit, self.program.stop_timeout)
        if self.alive():
            self._signal(self.program.stop_signal)
            try:
                await asyncio.wait_for(self._process.wait(), timeout)
            except TimeoutError:
                log.warning("%s 到时未停，强行结束", self.program.name, waited=round(timeout, 1))
                self.kill()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), EXIT_GRACE)
        self._pid_file.unlink(missing_ok=True)
        if self._follower is not None:
            with suppress(TimeoutError):  # 孙进程可能仍握着管道
                await asyncio.wait_for(asyncio.shield(self._follower), 1.0)

    def kill(self) -> None:
        """立刻结束它与它的进程组。"""
        self._stopping.set()
        if self._process is not None and self.alive():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def _reason(code: int) -> str:
    return f"信号 {signal.Signals(-code).name}" if code < 0 else f"退出码 {code}"


def _last_words(lines: deque[str]) -> str:
    telling = [line for line in lines if "FATAL" in line or "rror" in line or "错误" in line]
    return f"：{(telling or list(lines))[-1]}" if lines else ""
