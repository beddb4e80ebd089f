"""上一套被 SIGKILL 之后：它的 postmaster 可能还在收尾，或者进程号已被不相干的程序重用。"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from kaguan.dev.program import READY_POLL, StartError
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

POSTMASTER_PID = "postmaster.pid"
FAST_STOP = 15.0  # 秒；监督者死时内核已发 SIGINT（fast shutdown），等它做完
IMMEDIATE_STOP = 5.0  # 秒；SIGQUIT（immediate shutdown）之后
PS_TIMEOUT = 5.0  # 秒


async def settle_postmaster(data: Path, fast_stop: float = FAST_STOP, immediate_stop: float = IMMEDIATE_STOP) -> None:
    """让 ``data`` 没有正在运行的 postmaster，也没有指向别人进程的 postmaster.pid。两步各等几秒。

    Raises:
        StartError: 它就是不退。
    """
    pid_file = data / POSTMASTER_PID
    pid = _pid_in(pid_file)
    if pid is None:
        return
    if str(data) not in command_line(pid):
        pid_file.unlink(missing_ok=True)  # 进程号已属别人：PostgreSQL 自己会因此拒绝启动
        return
    log.info("上一套的 PostgreSQL 还在收尾，等它停下", child_pid=pid)
    if await _gone(pid, data, fast_stop):
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGQUIT)
    if not await _gone(pid, data, immediate_stop):
        raise StartError(said("dev.old_postgres", pid=pid))


def _pid_in(path: Path) -> int | None:
    try:
        return int(path.read_text("utf-8").split()[0])
    except (OSError, IndexError, ValueError):
        return None


def command_line(pid: int) -> str:
    """进程的命令行；没有这个进程则为空。"""
    status = Path("/proc", str(pid), "cmdline")
    if Path("/proc/self/cmdline").exists():
        try:
            return status.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            return ""
    command = ["ps", "-p", str(pid), "-o", "args="]  # macOS 没有 /proc
    result = subprocess.run(command, capture_output=True, text=True, timeout=PS_TIMEOUT, check=False)  # noqa: S603 固定命令
    return result.stdout


async def _gone(pid: int, data: Path, seconds: float) -> bool:
    """它退了；进程号转眼又属别人，也是退了。"""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while str(data) in command_line(pid):  # noqa: ASYNC110 见下
                await asyncio.sleep(READY_POLL)  # 别人的子进程没有事件可等
            return True
    return False
