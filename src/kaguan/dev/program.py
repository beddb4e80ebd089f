"""一个要作为子进程运行的程序：命令、最小环境、身份、停止信号，以及怎样才算就绪。"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaguan.dev.ports import is_free
from kaguan.dev.privileges import Identity
from kaguan.words.spoken import said

Ready = Callable[[], Awaitable[bool]]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
READY_POLL = 0.05  # 秒


class StartError(Exception):
    """起不来。消息是一行，说明原因与怎么办。"""


class PortTakenError(StartError):
    """我们自己挑的端口被别的程序占去了：另挑一个就好。"""

    def __init__(self, program: str, port: int) -> None:
        super().__init__(said("dev.port_lost", program=program, port=port))
        self.program = program
        self.port = port


async def ready_at_once() -> bool:
    return True


async def nothing_to_mend() -> None: ...


@dataclass(frozen=True, slots=True)
class Program:
    """一个子进程。

    Attributes:
        mend: 每次起之前做的：上次没有好好停，留下的先收拾。自己须有时限，停机要等它。
        stop_signal: 体面停止用的信号。
        death_signal: 监督者被 SIGKILL 时内核发给它的信号（只有 Linux 有）。
        ready: 是否就绪；由监督者反复询问，自己须有时限，不得抛异常。
        ready_timeout: 秒；多久未就绪即算起不来。
        stop_timeout: 秒；发出停止信号后多久强杀。
        chosen: 我们替它挑的监听处（端口，主机）；被占就另挑。用户点名的不在内。
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    mend: Callable[[], Awaitable[None]] = nothing_to_mend
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    ready: Ready = ready_at_once
    ready_timeout: float = 30.0
    stop_timeout: float = 25.0
    chosen: tuple[tuple[int, str], ...] = ()

    def taken_port(self) -> int | None:
        """``chosen`` 里被别的程序占去的一个；自己没在运行时才问得准。"""
        return next((port for port, host in self.chosen if not is_free(port, host)), None)

    def spawn_options(self) -> dict[str, Any]:
        """``subprocess.Popen`` 与 ``asyncio.create_subprocess_exec`` 通用的参数。

        自成一个会话：终端的 Ctrl-C 只到监督者，由它按顺序停。
        """
        options: dict[str, Any] = {
            "cwd": self.directory,
            "env": minimal_environment() | dict(self.environment),
            "start_new_session": True,
            "preexec_fn": _die_with_parent(self.death_signal),
        }
        if self.identity is not None:
            options |= {"user": self.identity.uid, "group": self.identity.gid, "extra_groups": []}
        return options


def minimal_environment() -> dict[str, str]:
    """子进程继承的最小环境：不把用户终端里的 PG*、REDIS* 与密钥带过去。"""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # 在 fork 之前载入，子进程里只剩一次系统调用
    parent = os.getpid()

    def set_death_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # 父进程恰在此前死了
            os.kill(os.getpid(), signal.SIGKILL)

    return set_death_signal


async def wait_until_ready(program: Program, alive: Callable[[], bool]) -> None:
    """等到就绪。

    Raises:
        StartError: 进程先死了，或超时。
    """
    try:
        async with asyncio.timeout(program.ready_timeout):
            while not await program.ready():
                if not alive():
                    raise StartError(said("dev.exited", program=program.name))
                await asyncio.sleep(READY_POLL)  # 就绪与否只能去问
    except TimeoutError:
        raise StartError(said("dev.not_ready", program=program.name, seconds=program.ready_timeout)) from None
