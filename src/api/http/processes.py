"""多进程：父进程不服务，只看着子进程；端口由内核分给它们（SO_REUSEPORT，socket(7)）。"""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence

from kaguan.flow.child_process import STOP_TIMEOUT, ChildProcess
from kaguan.product.exit_codes import ExitCode
from kaguan.product.process import ExitError
from kaguan.words.log import get_logger

log = get_logger(__name__)

CHILD = "--shared-port"
NUMBER = "--number="  # 第几个子进程，从 0 起
HOPELESS = {ExitCode.USAGE, ExitCode.DEPENDENCY}  # 头一回就这样退出的，再起也一样


async def supervise(count: int, stop: asyncio.Event) -> None:
    """保持 ``count`` 个子进程，直到 ``stop``；死一个补一个，退避重启。

    Raises:
        ExitError: 有一个从来没有起来过，配置有误或依赖不可用；全体已停。
    """
    children = [_Child(number) for number in range(count)]
    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(child.keep(stop), name=child.name) for child in children]
        await stop.wait()
        for child in children:
            group.create_task(child.stop())
    code = max(keeper.result() for keeper in keepers)
    if code != ExitCode.OK:
        raise ExitError(code)


class _Child(ChildProcess):
    def __init__(self, number: int) -> None:
        super().__init__(f"api-{number}", signal.SIGTERM, STOP_TIMEOUT)
        self._number = number

    async def spawn(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "api",
            CHILD,
            f"{NUMBER}{self._number}",
            stdin=asyncio.subprocess.PIPE,  # 从不写：父进程一没，那一头就关上（watch_parent）
        )
        log.info("子进程启动", number=self._number, pid=process.pid)
        return process

    async def keep(self, stop: asyncio.Event) -> ExitCode:
        await self.start()
        first = True
        while (code := await self.unexpected_exit()) is not None:
            if first and code in HOPELESS:
                log.error("子进程起不来，全体停下", number=self._number, code=code)
                stop.set()
                return ExitCode(code)
            first = False
            if await self.backed_off(code):
                await self.start()
        return ExitCode.OK


def number_of(arguments: Sequence[str]) -> int:
    """命令行说的子进程序号；单进程时是 0。"""
    given = next((item for item in arguments if item.startswith(NUMBER)), None)
    return 0 if given is None else int(given.removeprefix(NUMBER))


async def watch_parent(stop: asyncio.Event) -> None:
    """子进程：父进程没了（被 SIGKILL，哪怕在自己启动完之前）就自己停；标准输入是它手里的管道，没了就读到尾。"""
    gone, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    log.warning("父进程已不在，停止服务")
    stop.set()
