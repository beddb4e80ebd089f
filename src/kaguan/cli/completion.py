"""`kaguan completion`：哪种 shell 的补全脚本。"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from kaguan.cli.tree import COMPLETING, group

app = group("completion")


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(help="shell")]) -> None:
    typer.echo(get_completion_script(prog_name="kaguan", complete_var=COMPLETING, shell=shell))
