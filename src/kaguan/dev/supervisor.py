"""监督一组子进程：按次序分批启动，反序停下，全程不超过 30 秒。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from kaguan.dev.child import Child
from kaguan.dev.output import Output
from kaguan.dev.program import PortTakenError, Program
from kaguan.words.log import get_logger

log = get_logger(__name__)

STOP_BUDGET = 28.0  # 秒；全部停下的时限
RESERVE = 1.0  # 秒；为每个排在后面的进程留出的时间


class Supervisor:
    """全部子进程。"""

    def __init__(self, output: Output, pid_directory: Path) -> None:
        self._output = output
        self._pid_directory = pid_directory
        self._children: list[Child] = []
        self._keepers: set[asyncio.Task[PortTakenError | None]] = set()
        self._forced = False
        self.port_taken = asyncio.Event()  # 运行途中有一个的端口被占去：要全部停下、另挑端口再来

    async def start(self, programs: Sequence[Program]) -> None:
        """启动一批，等它们全部就绪，此后看住它们。

        Raises:
            PortTakenError: 有一个替它挑的端口被占去；已起来的由 ``stop`` 收尾。
            StartError: 有一个起不来；同上。
        """
        children = [Child(program, self._output, self._pid_directory) for program in programs]
        self._children += children
        try:
            async with asyncio.TaskGroup() as group:
                for child in children:
                    group.create_task(self._start_one(child))
        except ExceptionGroup as errors:  # 占了端口的先说
            taken = (error for error in errors.exceptions if isinstance(error, PortTakenError))
            raise next(taken, errors.exceptions[0]) from None

    async def _start_one(self, child: Child) -> None:
        started = time.monotonic()
        await child.start_ready()
        log.info(
            "已就绪", program=child.program.name, child_pid=child.pid, seconds=round(time.monotonic() - started, 2)
        )
        keeper = asyncio.create_task(child.keep())
        self._keepers.add(keeper)
        keeper.add_done_callback(self._stopped_keeping)

    def _stopped_keeping(self, keeper: asyncio.Task[PortTakenError | None]) -> None:
        self._keepers.discard(keeper)
        if not keeper.cancelled() and (lost := keeper.result()) is not None:
            log.warning("%s 的端口被别的程序占去", lost.program, port=lost.port)
            self.port_taken.set()

    async def stop(self) -> None:
        """反序停下全部；总时限用完就强杀余下的。"""
        deadline = time.monotonic() + STOP_BUDGET
        for position, child in reversed(list(enumerate(self._children))):
            if self._forced:
                child.kill()
            if child.alive():
                log.info("正在停止 %s", child.program.name)
            await child.stop(max(0.1, deadline - time.monotonic() - RESERVE * position))
        if self._keepers:
            _, pending = await asyncio.wait(self._keepers, timeout=RESERVE)
            for keeper in pending:
                keeper.cancel()

    def kill(self) -> None:
        """第二次 Ctrl-C：不等了。"""
        self._forced = True
        for child in self._children:
            child.kill()
