"""命令行入口 ``kaguan``。错误一行，说清怎么办；退出码见 :mod:`kaguan.product.exit_codes`。"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from kaguan.cli.configured import forget
from kaguan.cli.tree import COMPLETING, HELP, Root
from kaguan.cli.wording import joined, say
from kaguan.product.exit_codes import ExitCode
from kaguan.words.printable import LINES, printable

SCHEMA = "KAGUAN_DATABASE__SCHEMA_NAME"

FOR_OTHERS = ("task", "outbox", "pause", "resume", "limit", "worker", "doctor", "console")

app = typer.Typer(
    name="kaguan",
    cls=Root,
    add_completion=False,
    context_settings=HELP,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:  # noqa: FBT001 typer 按位置给
    if asked:
        typer.echo(f"kaguan {import_module('importlib.metadata').version('kaguan')}")  # 少有人问，别的命令不必付
        raise typer.Exit


def _look_into(schema: str | None) -> None:
    if schema is not None:
        os.environ[SCHEMA] = schema


Schema = Annotated[str | None, typer.Option("--schema", is_eager=True, callback=_look_into, help="schema")]
Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="version")]


@app.callback()
def root(context: typer.Context, *, schema: Schema = None, version: Version = False) -> None:
    """根上的选项。"""
    if schema is not None and not version and context.invoked_subcommand not in FOR_OTHERS:
        raise typer.BadParameter(say("not_for_others", commands=joined(FOR_OTHERS)), param_hint="--schema")


def main() -> None:
    """入口。结果在标准输出；日志（警告以上）与错误在标准错误，``--json`` 的输出因此总能被程序读。"""
    forget()
    sys.exit(_run())


def _run() -> int:
    if COMPLETING in os.environ:
        import_module("typer._completion_classes").completion_init()  # 补全的时候才要
    try:
        result = app(standalone_mode=False, prog_name="kaguan")
    except typer.Abort:
        return ExitCode.USAGE
    except typer.TyperException as error:
        from kaguan.cli.misuse import misuse  # noqa: PLC0415 用错了才要

        _complain(misuse(error))
        return ExitCode.USAGE
    except Exception as error:  # 命令行的边缘：认得的译成一行，不认得的原样抛出
        from kaguan.cli.explaining import explain  # noqa: PLC0415 见其模块说明

        failure = explain(error)
        if failure is None:
            raise
        message, code = failure
        _complain(message)
        return code
    return int(result or 0)


def _complain(message: str) -> None:
    typer.echo(printable(message, LINES), err=True)
