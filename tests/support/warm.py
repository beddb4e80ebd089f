"""导入好了的解释器：``python -m 模块`` 由它分出来，省下每次一秒的导入。

分出来的是真的进程：自己的进程号、会话、环境、标准输出、信号与退出码；只有「解释器现起、模块现导入」不在其内，
那是 ``tests/e2e/test_up.py`` 与 ``tests/integration/product/test_start.py`` 的事。
整套的 ``kaguan up`` 见 ``warm_up.py``。
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NoReturn, TypeAlias

from coverage import process_startup

from kaguan.dev.program import PR_SET_PDEATHSIG, Program, minimal_environment
from tests.support.repository import ROOT

# 它们导入的，几乎就是全部；自己（``__main__``）由分出来的进程现跑
PROGRAMS: Final = (
    "api.__main__",
    "relay.__main__",
    "workers.__main__",
    "kaguan.dev.smtp_sink",
    "kaguan.dev.simulator.__main__",
    "kaguan.dev.traceview.__main__",
    "tests.support.warm_up",
)
MESSAGE: Final = 256 * 1024  # 字节；一次请求装得下的环境变量
OURS: Final = f"{ROOT / 'src'}{os.pathsep}{ROOT}"  # 不管装的是哪一份
COMMAND: Final = str(Path(__file__).with_name("warm_kaguan.py"))
NUMBER: Final = struct.Struct("i")
READ_AT_START: Final = ("LD_PRELOAD", "PYTHONPATH")  # 解释器起来时才看的变量：带着它们的照旧现起
UP: Final = "tests.support.warm_up"  # 再分出一个来，自己才开始量


@dataclass(eq=False, slots=True)
class Forked:
    """分出来的一个；与 :class:`asyncio.subprocess.Process` 同样的用法。"""

    pid: int
    _waiting: asyncio.Task[int]
    stdout: asyncio.StreamReader | None = None

    @property
    def returncode(self) -> int | None:
        return self._waiting.result() if self._waiting.done() else None

    async def wait(self) -> int:
        return await asyncio.shield(self._waiting)

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Process: TypeAlias = Forked | asyncio.subprocess.Process


async def start(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    output: IO[bytes] | int,
    directory: Path = ROOT,
    asking: socket.socket | None = None,
) -> Process:
    """``python -m module``，输出与错误都进 ``output``；环境只有给出的与最小的，随本进程而死。

    ``asking`` 是要由它来分的；没有给，是本进程的那一个。
    """
    if asking is None and any(name.startswith(READ_AT_START) for name in environment):
        path = {"PYTHONPATH": OURS, **environment}
        program = Program(module, (sys.executable, "-m", module, *arguments), directory, environment=path)
        return await asyncio.create_subprocess_exec(
            *program.argv, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, **program.spawn_options()
        )
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    with theirs, open(os.devnull, "rb") as nothing:  # noqa: ASYNC230, PTH123 当场就开了
        asked = [module, arguments, str(directory), minimal_environment() | dict(environment)]
        written = output if isinstance(output, int) else output.fileno()
        descriptors = [nothing.fileno(), written, written, theirs.fileno()]
        socket.send_fds(asking or interpreter(), [json.dumps(asked).encode()], descriptors)
    (pid,) = NUMBER.unpack(await loop.sock_recv(ours, NUMBER.size))
    return Forked(pid, loop.create_task(_ended(ours), name=f"wait-{module}"))


async def _ended(ending: socket.socket) -> int:
    with ending:
        (code,) = NUMBER.unpack(await asyncio.get_running_loop().sock_recv(ending, NUMBER.size))
    return int(code)


def kaguan() -> tuple[tuple[str, ...], int, dict[str, str]]:
    """一条 ``kaguan`` 命令：怎样运行，要传下去的描述符，要另加的环境变量。"""
    descriptor = interpreter().fileno()
    return (sys.executable, "-IS", COMMAND), descriptor, {"WARM": str(descriptor)}


async def run_kaguan(*arguments: str, environment: Mapping[str, str], **pipes: Any) -> asyncio.subprocess.Process:
    """一条跑完就走的命令；``environment`` 是全部环境。"""
    command, descriptor, asking = kaguan()
    return await asyncio.create_subprocess_exec(
        *command, *arguments, env={**environment, **asking}, pass_fds=[descriptor], **pipes
    )


@cache
def interpreter() -> socket.socket:
    """一个进程一个，头一次要用时才导入；这一头一关它就退出，分出来的也都随它死。"""
    ours, theirs = control_ends()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            env=minimal_environment() | {"PYTHONPATH": OURS},
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def control_ends() -> tuple[socket.socket, socket.socket]:
    """要人分的一头，与分的一头。"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE)
    return ours, theirs


# ---- 以下在那个解释器里


@cache
def import_all() -> None:
    for name in PROGRAMS:
        importlib.import_module(name)
        del sys.modules[name]
    importlib.import_module("kaguan.cli.app")
    gc.collect()
    gc.freeze()


def serve(asking: socket.socket) -> None:
    """分到没有人再要；在分出来的进程里返回的，是它的程序跑完了。"""
    endings: dict[int, socket.socket] = {}
    woken, waking = socket.socketpair()
    waking.settimeout(0)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector:
        selector.register(asking, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(MESSAGE)
                    reap(endings)
                    continue
                message, descriptors, *_ = socket.recv_fds(asking, MESSAGE, 4)
                if not message:
                    return
                import_all()
                *given, ending = descriptors
                pid = os.fork()
                if not pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    selector.close()
                    for one in (asking, woken, waking, *endings.values()):
                        one.close()
                    os.close(ending)
                    module, arguments, directory, environment = json.loads(message)
                    leave(become, module, arguments, directory, environment, given)
                for descriptor in given:
                    os.close(descriptor)
                endings[pid] = socket.socket(fileno=ending)
                endings[pid].sendall(NUMBER.pack(pid))


def reap(endings: dict[int, socket.socket]) -> None:
    while endings:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with endings.pop(pid) as ending, suppress(OSError):  # 没有人等了也罢
            ending.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


class Replaced(BaseException):
    """``execve`` 成了另一个 ``python -m``；退到最外面才换过去。"""

    def __init__(self, _path: str, argv: list[str], environment: Mapping[str, str]) -> None:
        super().__init__(argv)
        self.argv, self.environment = argv, environment

    @classmethod
    def instead(cls, *given: Any) -> NoReturn:
        raise cls(*given)


def leave(program: Callable[..., None], *arguments: object) -> None:
    """跑完就走，该收尾的都收尾；不把几百兆的模块一个个拆掉，那比一条命令还贵。"""
    code = 0
    try:
        try:
            program(*arguments)
        except Replaced as other:
            os.environ.clear()
            os.environ.update(other.environment)
            _, _, module, *sys.argv[1:] = other.argv
            sys.modules.pop(module, None)  # 导入过了的，由它现跑
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code or 0
    vars(threading)["_shutdown"]()  # 解释器退出时做的，这两样
    vars(atexit)["_run_exitfuncs"]()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def become(program: str, arguments: list[str], directory: str, environment: dict[str, str], given: list[int]) -> None:
    """成为 ``python -m 模块``，或运行 ``模块:函数``；``given`` 是标准输入、输出与错误。"""
    os.setsid()
    die_with_parent()
    for number, descriptor in enumerate(given):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    if program != UP:
        measure()
    module, _, function = program.partition(":")
    sys.argv[:] = [module.partition(".")[0], *arguments]
    if function:
        setattr(os, os.execve.__name__, Replaced.instead)
        getattr(importlib.import_module(module), function)()
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def measure() -> None:
    """环境里要量覆盖率的，此刻起量；先前导入的那些，别处走过。"""
    process_startup()


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as control:
        serve(control)
