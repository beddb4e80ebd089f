"""测试自己的 PostgreSQL 与 Valkey：起到就绪，离开时体面地停；每个用例的库是模板库的副本。"""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kaguan.dev.program import wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kaguan.dev.program import Program


TEMPLATE = "kaguan_template"
RECORDING = "kaguan_recording"  # 同上，另记历史


@contextmanager
def running(program: Program, log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """启动一个服务器直到就绪，离开时体面地停。"""
    with log_file.open("ab") as log:
        process = subprocess.Popen(program.argv, stdout=log, stderr=log, **program.spawn_options())
    try:
        asyncio.run(wait_until_ready(program, lambda: process.poll() is None))
        yield process
    finally:
        process.send_signal(program.stop_signal)
        process.wait(timeout=30)
