"""命令行的话：两种语言都齐、说的是同一件事，目录里没有用不着的；英文的一个汉字也没有。"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from typer.main import get_command

from kaguan import cli
from kaguan.cli.app import app
from kaguan.cli.tree import MODULES, OWN
from kaguan.cli.wording import catalogue
from kaguan.outbox.operate.sweeping import Deed
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.verdict.model import Level
from tests.support.invocation import Invocation

HAN = re.compile(r"[\u4e00-\u9fff\uff00-\uffef]")
SCREEN = 34  # 行
SOURCES = sorted(Path(cli.__path__[0]).glob("*.py"))
SPOKEN = {*TaskStatus, *Level, *(f"{deed}_these" for deed in Deed)}  # 值就是键
SAID_BY_US = {"help", "moment", *OWN}  # 不写在 help= 里的


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, f"{path} {name}")


TREE = dict(walk(get_command(app), "kaguan"))


def flat(texts: Any, path: str = "") -> dict[str, str]:
    if isinstance(texts, str):
        return {path: texts}
    return {place: text for name, inner in texts.items() for place, text in flat(inner, f"{path}/{name}").items()}


def blanks(template: str) -> set[str]:
    return {name or "{}" for _, name, _, _ in Formatter().parse(template) if name is not None}


def constants() -> set[str]:
    """代码里写着的全部文本。"""
    nodes = [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_both_languages_say_the_same() -> None:
    zh, en = flat(catalogue("zh")), flat(catalogue("en"))
    assert zh.keys() == en.keys()
    for place, text in zh.items():
        assert blanks(text) == blanks(en[place]), place
        assert not HAN.search(en[place]), place


def test_the_catalogues_hold_nothing_that_nobody_says() -> None:
    texts, written = catalogue("zh"), constants()
    assert set(texts["command"]) == {*TREE, "epilog"}
    modules = {
        module for place in MODULES.values() for module in ([place] if isinstance(place, str) else place.values())
    }
    raw = [get_command(import_module(f"kaguan.cli.{module}").app) for module in sorted(modules)]
    parameters = [one for root in raw for _, command in walk(root, "") for one in command.params]
    helps = {one.help.partition(" ")[0] for one in parameters if getattr(one, "help", None)}
    assert set(texts["option"]) == helps | SAID_BY_US
    assert set(texts["line"]) - SPOKEN <= written
    for name, headings in texts["table"].items():
        assert {name, *headings} <= written, name


def own_words(node: ast.AST) -> Iterator[int]:
    """写着汉字的文本在第几行；文档字符串、两种语言并排的（``not_found``）不算。"""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Expr(value=ast.Constant()) | ast.Call(func=ast.Name(id="not_found")):
                continue
            case ast.Constant(value=str(text)) if HAN.search(text):
                yield child.lineno
            case _:
                yield from own_words(child)


def test_the_code_holds_no_words_of_its_own() -> None:
    assert [f"{path.name}:{line}" for path in SOURCES for line in own_words(ast.parse(path.read_text("utf-8")))] == []


def test_help_fits_a_screen_is_told_in_the_readers_language_and_h_is_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Invocation(monkeypatch, capsys)
    for language, option in (("zh", "--help"), ("en", "-h")):
        monkeypatch.setenv("KAGUAN_LANGUAGE", language)
        for path in TREE:
            code, out, err = run(*path.split()[1:], option)
            assert (code, err) == (0, ""), path
            assert catalogue(language)["command"][path][:8] in out
            if language == "zh":
                assert len(out.splitlines()) <= SCREEN, path
                assert not [line for line in out.splitlines()[1:] if line.endswith("...") and "<" not in line], path
            else:
                assert not HAN.search(out), path
    assert run("task", "--help") == run("task", "-h")


def test_wrong_usage_is_told_in_english(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KAGUAN_LANGUAGE", "en")
    code, out, err = Invocation(monkeypatch, capsys)("task", "lst")
    assert (code, out) == (2, "")
    assert err.startswith("wrong usage: there is no command lst; is list meant?")
    assert "`kaguan task --help`" in err
    assert not HAN.search(err)
