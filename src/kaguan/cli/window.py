"""`kaguan console`：看别的应用的控制台。"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from kaguan.cli.processes import become
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.config import Process, load_settings
from kaguan.config.addresses import is_loopback
from kaguan.database.connecting import Connection
from kaguan.flow.probes import LOOPBACK

LEVEL = "KAGUAN_LOGGING__LEVEL"

app = group("console")


@app.command()
def console(
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="console_port")] = None,
    host: Annotated[str, typer.Option(help="console_host")] = LOOPBACK,
) -> None:
    if not load_settings(process=Process.CONSOLE).database.schema_name:
        raise typer.BadParameter(say("own_console"), param_hint="--schema")
    if not is_loopback(host):
        raise typer.BadParameter(say("beyond_loopback", host=host), param_hint="--host")
    with_database(_look)  # 连不上、没有装，在这里就说
    os.environ.setdefault(LEVEL, "WARNING")  # 人看着的终端里，平常的事不说
    become("api.window", host, str(port or 0))


async def _look(_connection: Connection) -> None:
    """连上时已核对过装没装。"""
