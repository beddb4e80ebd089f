"""找出 src 里的每一条正则：不靠人列。

导入全部模块，记下每次 ``re.compile`` 与 ``linear``（在另一个进程里，免得已导入的模块不再编译）；用法（``fullmatch``、
``search``……）从语法树里找。
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import kaguan
from tests.support import repository

SOURCE = Path(kaguan.__file__).parents[1]
PACKAGES = ("api", "kaguan", "relay", "workers")
METHODS = frozenset({"fullmatch", "match", "search", "sub", "subn", "split", "findall", "finditer"})


@dataclass(frozen=True, slots=True)
class SourcePattern:
    """一条正则。``methods`` 是 src 里对它用的方法，找不到名字的（在元组里、在函数里编译）算全部。"""

    file: str
    line: int
    engine: str
    text: bytes | str
    flags: int
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@cache
def source_patterns() -> tuple[SourcePattern, ...]:
    """每一条，按文件与行排。"""
    command = [sys.executable, "-W", "ignore", "-m", __name__]
    printed = subprocess.run(command, cwd=SOURCE.parent, check=True, capture_output=True, text=True).stdout
    found: list[SourcePattern] = []
    for file, line, engine, kind, text, flags in json.loads(printed):
        pattern = text.encode("latin-1") if kind == "bytes" else text
        found.append(SourcePattern(file, line, engine, pattern, flags, _methods(file, line)))
    return tuple(found)


def compile_sites() -> set[tuple[str, int]]:
    """源码里每一处 ``re.compile(…)`` 与 ``linear(…)``；``linear`` 自己里面的不算。"""
    return {
        (file, node.lineno)
        for file, tree in trees().items()
        if file != "kaguan/words/patterns.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"re.compile", "linear"}
    }


@cache
def uses() -> dict[str, set[str]]:
    """名字 → 对它用过的正则方法。全部语法树只走一遍。"""
    found: dict[str, set[str]] = defaultdict(set)
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
                found[ast.unparse(node.func.value).rpartition(".")[2].strip("()")].add(node.func.attr)
    return found


@cache
def trees() -> dict[str, ast.Module]:
    return {name.removeprefix("src/"): tree for name, tree in repository.trees("src").items()}


def _methods(file: str, line: int) -> tuple[str, ...]:
    names = {
        target.id
        for node in trees()[file].body
        if isinstance(node, ast.Assign) and node.lineno <= line <= (node.end_lineno or 0)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    used = {method for name in names for method in uses().get(name, ())}
    return tuple(sorted(used or METHODS))


def record() -> list[tuple[str, int, str, str, str, int]]:
    """导入全部模块，记下编译的每一条。"""
    found: dict[tuple[str, int, str], tuple[str, int, str, str, str, int]] = {}
    plain_compile = re.compile

    def note(engine: str, pattern: str | bytes, flags: int, frame: FrameType | None) -> None:
        if frame is None or not Path(frame.f_code.co_filename).is_relative_to(SOURCE):
            return
        file, line = str(Path(frame.f_code.co_filename).relative_to(SOURCE)), frame.f_lineno
        kind, text = ("bytes", pattern.decode("latin-1")) if isinstance(pattern, bytes) else ("str", pattern)
        found[file, line, text] = (file, line, engine, kind, text, flags)

    def noting_compile(pattern: Any, flags: int = 0) -> re.Pattern[Any]:
        compiled = plain_compile(pattern, flags)
        note("re", compiled.pattern, compiled.flags, sys._getframe(1))  # noqa: SLF001 要知道是谁编译的
        return compiled

    re.compile = noting_compile  # 只在这个进程里
    patterns = importlib.import_module("kaguan.words.patterns")
    plain_linear = patterns.linear

    def noting_linear(pattern: bytes) -> Any:
        note("re2", pattern, int(re.IGNORECASE | re.DOTALL), sys._getframe(1))  # noqa: SLF001 同上
        return plain_linear(pattern)

    patterns.linear = noting_linear  # type: ignore[attr-defined] # 只在这个进程里
    for package in PACKAGES:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            importlib.import_module(module.name)
    return sorted(found.values())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(record()))
