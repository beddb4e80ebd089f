"""命令的树：一条命令用到才导入它的模块；帮助的文字从目录里来，代码里只写键。"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, MutableMapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from kaguan.cli.wording import catalogue, joined, say
from kaguan.product.exit_codes import ExitCode
from kaguan.words.language import environment_language

MODULES: Mapping[str, str | Mapping[str, str]] = {
    "up": "processes",
    "api": "processes",
    "relay": "processes",
    "worker": "workers",
    "console": "window",
    "openapi": "processes",
    "migrate": "migrations",
    "token": "tokens",
    "task": {
        "list": "tasks",
        "find": "seeking",
        "show": "showing",
        "stack": "stacks",
        "vanished": "vanishing",
        "watch": "acting",
        "replay": "replays",
        "retry": "acting",
        "cancel": "acting",
        "discard": "acting",
        "resolve": "acting",
        "change": "acting",
    },
    "sim": {
        "list": "sims",
        "show": "sims",
        "events": "sims",
        "refresh": "sims",
        "import": "sims",
        "suspend": "changing",
        "resume": "changing",
        "activate": "changing",
        "plan": "changing",
        "change": "changing",
        "changes": "changing",
    },
    "outbox": "outbox",
    "schedule": "schedules",
    "pause": "pauses",
    "resume": "resuming",
    "holders": "holders",
    "limit": "limits",
    "stats": "stats",
    "verdict": {
        "history": "verdict",
        "acknowledged": "verdict",
        "remind": "verdict",
        "try": "trying",
    },
    "acknowledge": "acknowledging",
    "doctor": "doctor",
    "config": "configuration",
    "completion": "completion",
}
HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
OWN = {"schema", "version"}  # 根上的选项：键就是名字
BRIEF = 60  # 字符：列表里一行说明至多这么长，再长的只要头一截
COMPLETING = "_KAGUAN_COMPLETE"  # 补全脚本来问时给的环境变量


class Helpful(TyperGroup):
    """只说了组名，是在问有什么：给帮助，不算用错。"""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ([] if ctx.resilient_parsing else ["--help"]))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            near = get_close_matches(args[0], self.list_commands(ctx))
            ctx.fail(
                say("no_command_near", name=args[0], near=joined(near)) if near else say("no_command", name=args[0])
            )
        return super().resolve_command(ctx, args)


def group(name: str) -> typer.Typer:
    """一组命令。"""
    return typer.Typer(
        name=name,
        cls=Helpful,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


class Lazy(MutableMapping[str, Any]):
    """``path`` 之下的命令：名字到命令，取的时候才导入。"""

    def __init__(self, path: str, places: Mapping[str, str | Mapping[str, str]]) -> None:
        self._path = path
        self._places = dict(places)

    def __getitem__(self, name: str) -> Any:
        place, path = self._places[name], f"{self._path} {name}"
        if isinstance(place, str):
            found: Any = get_command(import_module(f"kaguan.cli.{place}").app)
            if found.name != name:
                found = found.commands[name]
        else:
            found = Helpful(name=name, rich_markup_mode=None)
            found.commands = Lazy(path, place)
        explain(found, path)
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        raise TypeError(name)

    def __delitem__(self, name: str) -> None:
        del self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Root(Helpful):
    """``kaguan`` 本身。列出命令（帮助、补全）只用名字与一行说明，一个模块也不导入。"""

    def __init__(self, **attributes: Any) -> None:
        language = environment_language()
        codes = catalogue(language)["line"]["then"].join(f"{code} {code.told(language)}" for code in ExitCode)
        attributes["epilog"] = catalogue(language)["command"]["epilog"].format(codes=codes)
        super().__init__(**attributes)
        self.commands = Lazy("kaguan", MODULES)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        explain(self, "kaguan")
        super().format_help(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        self._index().format_commands(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        explain(self, "kaguan")
        index = self._index()
        return index.shell_complete(typer.Context(index, info_name=ctx.info_name, **HELP), incomplete)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        found = super().resolve_command(ctx, args)
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        return found

    def invoke(self, ctx: Any) -> Any:
        from kaguan.config.model import Logging  # noqa: PLC0415 要做事才配日志；帮助不必付
        from kaguan.logging.setup import configure_logging  # noqa: PLC0415 同上

        with configure_logging(Logging(level="WARNING", format="console"), "cli"):
            return super().invoke(ctx)

    def _index(self) -> TyperGroup:
        texts = catalogue(environment_language())
        names: dict[str, Any] = {
            name: TyperCommand(name, short_help=_brief(texts["command"][f"kaguan {name}"], texts)) for name in MODULES
        }
        return TyperGroup(name=self.name, commands=names, params=self.params, rich_markup_mode=None)


def explain(command: Any, path: str) -> None:
    """把一条命令与它下面的说明换成读者的语言；``help`` 里写的是目录的键，空格之后的填进那一句。"""
    texts = catalogue(environment_language())
    command.help = texts["command"][path]
    vars(command)["short_help"] = _brief(command.help, texts)
    for parameter in command.params:
        if isinstance(parameter, TyperOption | TyperArgument) and parameter.help:
            key, _, filled = (parameter.name if parameter.name in OWN else parameter.help).partition(" ")
            parameter.help = texts["option"][key].format(filled)
            if parameter.metavar is not None:
                parameter.metavar = texts["option"].get(parameter.metavar, parameter.metavar)
    asking = command.get_help_option(typer.Context(command, **HELP))
    if asking is not None:
        asking.help = texts["option"]["help"]
    children = getattr(command, "commands", {})
    if not isinstance(children, Lazy):
        for name, child in children.items():
            explain(child, f"{path} {name}")


def _brief(text: str, texts: Mapping[str, Any]) -> str:
    """列表里的一行：库照空格截短，中文没有空格，截了什么也不剩。"""
    ends = [place for stop in texts["line"]["stops"].split("|") if (place := text.find(stop)) > 0]
    return text[: min(ends)] if len(text) > BRIEF and ends else text
