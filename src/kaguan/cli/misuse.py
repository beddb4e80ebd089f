"""用错了的命令：库说的是英文，认得的换成读者的话。出了错才导入。"""

from __future__ import annotations

import typer
from typer._click.exceptions import MissingParameter, NoSuchOption

from kaguan.cli.wording import joined, say


def misuse(error: typer.TyperException) -> str:
    """错在哪里、看哪一页帮助，一行。"""
    context = getattr(error, "ctx", None)  # 哪条命令用错了，就指给它的帮助
    return say("usage", error=_told(error), command="kaguan" if context is None else context.command_path)


def _told(error: typer.TyperException) -> str:
    match error:
        case NoSuchOption(possibilities=near) if near:
            return say("no_option_near", option=error.option_name, near=joined(sorted(near)))
        case NoSuchOption():
            return say("no_option", option=error.option_name)
        case MissingParameter(param=param) if param is not None:
            return say("missing", parameter=param.get_error_hint())
        case typer.BadParameter(param=param) if param is not None:
            return say("bad_value", parameter=error.param_hint or param.get_error_hint(), error=error.message)
        case _:
            return str(getattr(error, "format_message", error.__str__)())
