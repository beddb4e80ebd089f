"""命令行入口 ``kaguan``。错误一行，说清怎么办；退出码见 :mod:`kaguan.product.exit_codes`。"""

from __future__ import annotations

import sys

import typer

from kaguan.cli import configuration, migrations, outbox, processes, schedules, sims, tasks, tokens
from kaguan.cli.doctor import doctor
from kaguan.cli.failure import explain
from kaguan.cli.printing import echo
from kaguan.config.model import Logging
from kaguan.logging.setup import configure_logging
from kaguan.product.exit_codes import ExitCode
from kaguan.words.printable import LINES

EPILOG = f"退出码：{'；'.join(f'{code} {code.meaning}' for code in ExitCode)}。"

app = typer.Typer(
    name="kaguan",
    help="卡管：物联网卡管理后端。应答 2xx 的工作一定做完。",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
processes.register(app)
app.add_typer(migrations.app, name="migrate")
app.add_typer(tokens.app, name="token")
app.add_typer(tasks.app, name="task")
app.add_typer(sims.app, name="sim")
app.add_typer(outbox.app, name="outbox")
app.add_typer(schedules.app, name="schedule")
app.command(name="doctor")(doctor)
app.add_typer(configuration.app, name="config")


def main() -> None:
    """入口。结果在标准输出；日志（警告以上）与错误在标准错误，``--json`` 的输出因此总能被程序读。"""
    with configure_logging(Logging(level="WARNING", format="console"), "cli"):
        code = _run()
    sys.exit(code)


def _run() -> int:
    try:
        result = app(standalone_mode=False, prog_name="kaguan")
    except typer.Abort:
        return ExitCode.USAGE
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)  # 哪条命令用错了，就指给它的帮助
        command = "kaguan" if context is None else context.command_path
        echo(f"用法有误：{error.format_message()}；请看 `{command} --help`", LINES, err=True)
        return ExitCode.USAGE
    except Exception as error:  # 命令行的边缘：认得的译成一行，不认得的原样抛出
        failure = explain(error)
        if failure is None:
            raise
        message, code = failure
        echo(message, LINES, err=True)
        return code
    return int(result or 0)
