"""多进程：父进程不服务，只看着子进程；端口由内核分给它们（SO_REUSEPORT，socket(7)）。"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import structlog

from kaguan.exit_codes import ExitCode
from kaguan.process import ExitError

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

CHILD = "--shared-port"
RESTART_DELAY = 0.5  # 秒，之后翻倍
RESTART_DELAY_MAX = 10.0
STEADY = 30.0  # 秒：活过这么久，退避从头算
NUMBER = "--number="  # 第几个子进程，从 0 起
STOP_TIMEOUT = 25.0  # 秒


async def supervise(count: int, stop: asyncio.Event) -> None:
    """保持 ``count`` 个子进程，直到 ``stop``；死一个补一个，退避重启。

    Raises:
        ExitError: 有一个从来没有起来过，配置有误或依赖不可用；全体已停。
    """
    async with asyncio.TaskGroup() as group:
        keepers = [group.create_task(_keep(number, stop), name=f"api-{number}") for number in range(count)]
    code = max(keeper.result() for keeper in keepers)
    if code != ExitCode.OK:
        raise ExitError(code)


async def _keep(number: int, stop: asyncio.Event) -> ExitCode:
    loop = asyncio.get_running_loop()
    delay = RESTART_DELAY
    first = True
    while not stop.is_set():
        started = loop.time()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api", CHILD, f"{NUMBER}{number}",
            stdin=asyncio.subprocess.PIPE,  # 从不写：父进程一没，那一头就关上（watch_parent）
        )  # fmt: skip
        log.info("子进程启动", number=number, pid=child.pid)
        await _until_exit(child, stop)
        if stop.is_set():
            break
        if first and child.returncode in {ExitCode.USAGE, ExitCode.DEPENDENCY}:
            log.error("子进程起不来，全体停下", number=number, code=child.returncode)
            stop.set()
            return ExitCode(child.returncode)
        first = False
        delay = RESTART_DELAY if loop.time() - started > STEADY else min(delay * 2, RESTART_DELAY_MAX)
        log.error("子进程意外退出，稍后重启", number=number, pid=child.pid, code=child.returncode, delay_s=delay)
        await _wait(stop, delay)
    return ExitCode.OK


async def _until_exit(child: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    """等子进程退出；停机时请它停，到时不停就强杀。"""
    exited = asyncio.create_task(child.wait())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({exited, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if exited.done():
        return
    child.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await exited
    except TimeoutError:
        child.kill()
        await child.wait()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


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
