"""起进程的命令：整套、单个进程、OpenAPI 文档。"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from kaguan.cli.tree import group
from kaguan.config import Process, load_settings
from kaguan.config.shipped import process_environment

PROCESSES = "KAGUAN_API__PROCESSES"
# kaguan 不许导入前三个包，生产的命令又不许碰 kaguan.dev，所以换成它们的进程
MODULES = {"api": "api", "relay": "relay", "worker": "workers", "up": "kaguan.dev.up"}

app = group("processes")


@app.command()
def up() -> None:
    load_settings(process=Process.WORKER)  # 配置有误，在这里就说；worker 要的最多
    _become("up")


@app.command()
def api(
    processes: Annotated[int | None, typer.Option(min=1, max=64, help="processes")] = None,
) -> None:
    if processes is not None:
        for spelling in [key for key in os.environ if key.upper() == PROCESSES]:
            del os.environ[spelling]  # 小写的也作数，不能与下面的打架
        os.environ[PROCESSES] = str(processes)
    _become("api")


@app.command()
def relay() -> None:
    _become("relay")


@app.command()
def openapi() -> None:
    become("api.describe")


def _become(name: str) -> None:
    become(MODULES[name])


def become(module: str, *arguments: str) -> None:
    """换成 ``python -m module``。"""
    sys.stdout.flush()
    argv = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, argv, process_environment(os.environ))  # noqa: S606 就是要换成那个进程，信号直达
