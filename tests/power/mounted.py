"""断电的盘，在一个目录上：挂上、断电、再来电。"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from kaguan.dev.program import Program, StartError, wait_until_ready
from tests.power.fuse import DEVICE, FUSERMOUNT, unmount
from tests.power.session import CONTROL
from tests.support.eventually import PATIENCE, eventually
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from tests.chaos.servers import Server

Names: TypeAlias = Literal["posix", "journal"]


def lacking() -> str:
    """这台机器挂不上，缺的是什么；空即挂得上。"""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return f"没有 {DEVICE}，或打不开"
    if os.geteuid() != 0 and shutil.which(FUSERMOUNT) is None:
        return f"不是 root，也没有装 {FUSERMOUNT}（Debian 的 fuse3）"
    return ""


@dataclass(frozen=True, slots=True)
class PowerDisk:
    place: Path

    @property
    def switch(self) -> Path:
        return self.place / os.fsdecode(CONTROL)

    async def cut(self, servers: Sequence[Server], seed: int, share: float) -> None:
        """断电：没同步的留下 ``share`` 那么多，别的没了；上面的服务器死去，盘再来电。"""
        await asyncio.to_thread(self.switch.write_text, f"{share} {seed}")
        await self.kill(servers)
        unmount(self.place)
        await eventually(self.switch.exists)  # 里面还有文件开着，就还没有卸完

    async def kill(self, servers: Sequence[Server]) -> None:
        """谁都活不了。PostgreSQL 的后端若在等一把死者手里的锁，看不见主进程死去：逐个找出来。"""
        await asyncio.gather(*(server.stop(signal.SIGKILL) for server in servers))
        await asyncio.to_thread(self._kill_the_rest)

    def _kill_the_rest(self) -> None:
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdigit() and (process / "cwd").readlink().is_relative_to(self.place):
                    os.kill(int(process.name), signal.SIGKILL)


@asynccontextmanager
async def powered(place: Path, names: Names) -> AsyncIterator[PowerDisk]:
    """``place`` 里现有的都已在盘上；离开时什么都不留。

    Raises:
        StartError: 挂不上，说得出缺什么。
    """
    if lack := lacking():
        raise StartError(lack)
    disk = PowerDisk(place)

    async def ready() -> bool:
        return disk.switch.exists()

    program = Program(
        "power",
        (sys.executable, "-m", "tests.power.fuse", str(place), names),
        ROOT,
        environment={"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        death_signal=signal.SIGTERM,
        ready=ready,
    )
    process = await asyncio.create_subprocess_exec(*program.argv, **program.spawn_options())
    try:
        await wait_until_ready(replace(program, ready_timeout=PATIENCE), lambda: process.returncode is None)
        yield disk
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE)
