"""``kaguan up``，由 :mod:`tests.support.warm` 的解释器分出来；它的 Python 子进程，由它自己再分出的一个来分。

监督者死了，那一个也死，子进程随之：与现起的一样。
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import Process, create_subprocess_exec
from functools import partial
from pathlib import Path
from typing import Any

from kaguan.dev.up import run_up
from tests.support import warm


async def spawned(asking: socket.socket, *argv: str, **options: Any) -> Process | warm.Forked:
    """代 ``asyncio.create_subprocess_exec``：``python -m`` 的由 ``asking`` 分，别的照旧。"""
    if argv[:2] != (sys.executable, "-m"):
        return await create_subprocess_exec(*argv, **options)
    ours, theirs = socket.socketpair()
    with theirs:
        process = await warm.start(
            *argv[2:], environment=options["env"], output=theirs.fileno(), directory=Path(options["cwd"]), asking=asking
        )
    process.stdout = reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(reader), ours)
    return process


def main() -> None:
    ours, theirs = warm.control_ends()
    child = os.fork()
    if not child:
        ours.close()
        warm.die_with_parent()
        warm.serve(theirs)
        return
    theirs.close()
    warm.measure()
    setattr(asyncio, asyncio.create_subprocess_exec.__name__, partial(spawned, ours))
    try:
        sys.exit(run_up())
    finally:
        ours.close()
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
