"""用错了的命令：库说的是英文，认得的换成读者的话。出了错才导入。"""

from __future__ import annotations

import typer
from pydantic import ValidationError
from typer._click.exceptions import BadOptionUsage, MissingParameter, NoSuchOption

from kaguan.cli.wording import joined, reader_language, say
from kaguan.words.wrong import wrong

EXTRA = "Got unexpected extra argument(s) "


def misuse(error: typer.TyperException) -> str:
    """错在哪里、看哪一页帮助，一行。"""
    context = getattr(error, "ctx", None)  # 哪条命令用错了，就指给它的帮助
    return say(
        "usage", error=_told(error).removesuffix("."), command="kaguan" if context is None else context.command_path
    )


def _told(error: typer.TyperException) -> str:
    match error:
        case NoSuchOption(option_name=option, possibilities=near):
            return (
                say("no_option_near", option=option, near=joined(sorted(near)))
                if near
                else say("no_option", option=option)
            )
        case BadOptionUsage(option_name=option):
            return say("wants_value" if "requires" in error.message else "takes_no_value", option=option)
        case MissingParameter(param=param) if param is not None:
            return say("missing", parameter=param.get_error_hint())
        case typer.BadParameter():
            return _bad(error)
        case _ if (said := str(getattr(error, "format_message", error.__str__)())).startswith(EXTRA):
            return say("too_much", words=said.removeprefix(EXTRA).strip("()"))
        case _:
            return said


def _bad(error: typer.BadParameter) -> str:
    """哪个参数的值哪里不对：自己的解析说的已是读者的话，pydantic 的不是。"""
    cause, text = error.__cause__, error.message
    if isinstance(cause, ValidationError):
        zh, en = wrong(cause.errors(include_url=False)[0])
        text = en if reader_language() == "en" else zh
    hint = error.param_hint or (error.param and error.param.get_error_hint())
    return say("bad_value", parameter=hint, error=text) if hint else text
