"""子进程：启动、等就绪、暂停、停。日志写进文件，出错时人能去看。"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from kaguan.dev.program import Program, StartError, wait_until_ready
from tests.support.eventually import PATIENCE


@dataclass(frozen=True, slots=True)
class Running:
    """一个在跑的子进程。"""

    process: asyncio.subprocess.Process

    def pause(self) -> None:
        """没轮到它时冻住：后台的活不去抢正在量的那一个的 CPU。"""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def running(program: Program, logs: Path) -> AsyncIterator[Running]:
    """启动到就绪；离开时体面地停，停不下来就强杀。

    Raises:
        StartError: 起不来；消息里带日志的最后几行。
    """
    log_file = logs / f"{program.name}.log"
    with log_file.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *program.argv, stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL, **program.spawn_options()
        )
    try:
        try:
            await wait_until_ready(replace(program, ready_timeout=PATIENCE), lambda: process.returncode is None)
        except StartError as error:
            raise StartError(f"{error}：{tail(log_file)}") from None
        yield Running(process)
    finally:
        await stop(process, program)


async def stop(process: asyncio.subprocess.Process, program: Program) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.send_signal(program.stop_signal)
    try:
        await asyncio.wait_for(process.wait(), program.stop_timeout)
    except TimeoutError:
        process.kill()
        await process.wait()


async def output_of(program: Program, logs: Path, seconds: float) -> bytes:
    """跑到它自己结束，返回标准输出。

    Raises:
        StartError: 退出码不是 0，或超时。
    """
    log_file = logs / f"{program.name}.log"
    with log_file.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *program.argv,
            stdout=asyncio.subprocess.PIPE,
            stderr=output,
            stdin=asyncio.subprocess.DEVNULL,
            **program.spawn_options(),
        )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise StartError(f"{program.name} 超过 {seconds:g} 秒没有做完") from None
    if process.returncode != 0:
        raise StartError(f"{program.name} 退出码 {process.returncode}：{tail(log_file)}")
    return printed


def tail(log_file: Path) -> str:
    return " / ".join(log_file.read_text("utf-8", "replace").strip().splitlines()[-5:])
