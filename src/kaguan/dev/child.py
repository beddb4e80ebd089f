"""`kaguan up` 的一个子进程：等就绪，记下进程号，转出它的输出，端口被占就说出来。"""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import Process
from collections import deque
from contextlib import suppress
from pathlib import Path

from kaguan.dev.output import Output
from kaguan.dev.privileges import write_private
from kaguan.dev.program import READY_POLL, PortTakenError, Program, StartError, wait_until_ready
from kaguan.flow.child_process import ChildProcess
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

PORT_GRACE = 5.0  # 秒；等它的子进程放开端口


class Child(ChildProcess):
    """``program`` 的一次次运行。"""

    leads_group = True

    def __init__(self, program: Program, output: Output, pid_directory: Path) -> None:
        super().__init__(program.name, program.stop_signal, program.stop_timeout)
        self.program = program
        self._output = output
        self._pid_file = pid_directory / f"{program.name}.pid"
        self._follower: asyncio.Task[deque[str]] | None = None

    async def spawn(self) -> Process:
        await self.program.mend()
        process = await asyncio.create_subprocess_exec(
            *self.program.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            **self.program.spawn_options(),
        )
        write_private(self._pid_file, f"{process.pid}\n")
        if process.stdout is not None:
            self._follower = asyncio.create_task(self._output.follow(self.name, process.stdout))
        return process

    async def start_ready(self) -> None:
        """启动并等到就绪。

        Raises:
            PortTakenError: 替它挑的端口被别的程序占去。
            StartError: 起不来；消息里带它最后说的一行。
        """
        if (port := self.program.taken_port()) is not None:
            raise PortTakenError(self.name, port)
        await self.start()
        try:
            await wait_until_ready(self.program, self.alive)
        except StartError as error:
            alive = self.alive()
            await self.stop()
            if (port := self.program.taken_port()) is not None:
                raise PortTakenError(self.name, port) from None
            last = "" if alive or self._follower is None else _last_words(await self._follower)
            raise StartError(said("dev.last_words", error=error, line=last) if last else str(error)) from None

    async def keep(self) -> PortTakenError | None:
        """看住它直到 ``stop``：意外退出就重启。

        它死后端口被别的程序占去，重启也没有用：交还给调用者去另挑。
        """
        while (code := await self.unexpected_exit()) is not None:
            self._pid_file.unlink(missing_ok=True)
            if not await self.backed_off(code):
                return None
            if (port := await self._lost_port()) is not None:
                return PortTakenError(self.name, port)
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
            await self.start()
            await wait_until_ready(self.program, self.alive)
        except (StartError, OSError) as error:
            log.warning("%s 重启后没有就绪", self.name, reason=str(error))
        else:
            log.info("%s 已重启", self.name, child_pid=self.pid)

    async def stop(self, limit: float | None = None) -> None:
        await super().stop(limit)
        self._pid_file.unlink(missing_ok=True)
        if self._follower is not None:
            with suppress(TimeoutError):  # 孙进程可能仍握着管道
                await asyncio.wait_for(asyncio.shield(self._follower), 1.0)


def _last_words(lines: deque[str]) -> str:
    telling = [line for line in lines if "FATAL" in line or "rror" in line or "错误" in line]
    return (telling or list(lines))[-1] if lines else ""
