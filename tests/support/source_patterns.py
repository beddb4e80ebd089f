"""找出 src 里的每一条正则：不靠人列。

提到 ``re`` 或 ``linear`` 的模块，把它的代码再执行一遍，记下编译的每一条；用法（``fullmatch``、``search``……）从语法树
里找。
"""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import kaguan
from tests.support import repository

SOURCE = Path(kaguan.__file__).parents[1]
LINEAR = "kaguan/words/patterns.py"
# 比 ``compile_sites`` 认得的写法多：漏了哪一种，两边才对得出来
MAY_COMPILE = re.compile(
    r"^\s*(?:import re\b|from re import|from kaguan\.words\S* import .*\b(?:linear|patterns)\b)", re.MULTILINE
)
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
    files = {
        file: file.removesuffix(".py").replace("/", ".")
        for file in trees()
        if file != LINEAR and MAY_COMPILE.search((SOURCE / file).read_text("utf-8"))
    }
    for module in files.values():
        importlib.import_module(module)  # 先都导入了，执行的只是它自己
    found: dict[tuple[str, int, bytes | str], SourcePattern] = {}
    compile_plainly, patterns = re.compile, importlib.import_module("kaguan.words.patterns")
    compile_linearly = patterns.linear

    def note(engine: str, text: bytes | str, flags: int) -> None:
        caller = sys._getframe(2)  # noqa: SLF001 要知道是谁编译的
        if (file := caller.f_code.co_filename.removeprefix(f"{SOURCE}/")) in files:
            line = caller.f_lineno
            found[file, line, text] = SourcePattern(file, line, engine, text, flags, _methods(file, line))

    def noting_compile(pattern: Any, flags: int = 0) -> re.Pattern[Any]:
        compiled = compile_plainly(pattern, flags)
        note("re", compiled.pattern, compiled.flags)
        return compiled

    def noting_linear(pattern: bytes) -> Any:
        note("re2", pattern, int(re.IGNORECASE | re.DOTALL))
        return compile_linearly(pattern)

    try:
        re.compile = noting_compile
        patterns.linear = noting_linear  # type: ignore[attr-defined] # 执行完就放回
        for file, module in files.items():
            runpy.run_path(str(SOURCE / file), run_name=module)
    finally:
        re.compile = compile_plainly
        patterns.linear = compile_linearly  # type: ignore[attr-defined] # 同上
    return tuple(sorted(found.values(), key=lambda one: (one.file, one.line)))


def compile_sites() -> set[tuple[str, int]]:
    """源码里每一处 ``re.compile(…)`` 与 ``linear(…)``；``linear`` 自己里面的不算。"""
    return {
        (file, node.lineno)
        for file, tree in trees().items()
        if file != LINEAR
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
