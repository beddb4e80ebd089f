"""监督者与它的子进程：几行的小程序。"""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kaguan.dev.output import Output
from kaguan.dev.program import Program
from kaguan.dev.supervisor import Supervisor
from tests.support.eventually import PATIENCE

# 写下自己停下的次序，收到 SIGTERM 就走；先拦下再等：在说好了与等之间来的也不会错过
WITNESS = """
import pathlib, signal, sys
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
(folder / f"{name}.up").touch()
signal.sigwait({signal.SIGTERM})
with (folder / "order").open("a") as file:
    file.write(name + "\\n")
"""
STUBBORN = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1], sys.argv[2] + ".up").touch()
while True:
    signal.pause()
"""


def program(tmp_path: Path, name: str, code: str = WITNESS, stop_timeout: float = 10.0) -> Program:
    marker = tmp_path / f"{name}.up"

    async def ready() -> bool:
        return marker.exists()

    argv = (sys.executable, "-c", code, str(tmp_path), name)
    return Program(name, argv, tmp_path, ready=ready, ready_timeout=PATIENCE, stop_timeout=stop_timeout)


@asynccontextmanager
async def supervised(tmp_path: Path, *programs: Program) -> AsyncIterator[tuple[Supervisor, io.StringIO]]:
    text = io.StringIO()
    (tmp_path / "pids").mkdir()
    supervisor = Supervisor(Output(text), tmp_path / "pids")
    try:
        await supervisor.start(programs)
        yield supervisor, text
    finally:
        await supervisor.stop()


def pid_of(tmp_path: Path, name: str) -> int:
    path = tmp_path / "pids" / f"{name}.pid"
    return int(path.read_text()) if path.exists() else 0
