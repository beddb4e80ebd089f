"""客人的应用里数得出来的：代码行、要认得的名字、装了几个包、导入它的库要多少 CPU。一个都不是人写的。"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.bench.environments import LOCKS, guest_environment

SHOPS = LOCKS / "shops"
TIMEOUT = 60.0  # 秒
ROUNDS = 5
LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip
STANDARD = {"asyncio", "signal", "time"}
LIST = "from importlib.metadata import distributions; print(*{d.metadata['Name'] for d in distributions()})"
TIMED = "import time\nbefore = time.process_time()\n{imports}\nprint(time.process_time() - before)"
INSTALLER = {"pip"}  # 环境自带的


@dataclass(frozen=True, slots=True)
class Counted:
    """一家店。

    Attributes:
        lines: 代码行，不算空行、注释、文档字符串。
        imported: 从它的库导入的名字。
        others: 另外要认得的属性与参数名：四家不都用的。
        packages: 公共的（网页、ORM、驱动）之外装了哪些；``installed`` 是一共几个。
        cpu: 导入 ``imported``，秒。
    """

    lines: int
    imported: set[str]
    others: set[str]
    packages: set[str]
    installed: int
    cpu: float


def counted(names: tuple[str, ...]) -> dict[str, Counted]:
    texts = {name: (SHOPS / f"{name}.py").read_text("utf-8") for name in names}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    others = distinct({name: set(words(tree)) for name, tree in trees.items()})
    common = locked("shop")
    found = {}
    for name, tree in trees.items():
        python = guest_environment(name)
        everything = {normalized(each) for each in asked(python, LIST).split()} - INSTALLER
        statements = list(imports(tree, name))
        timed = TIMED.format(imports="\n".join(map(ast.unparse, statements)))
        found[name] = Counted(
            len(code_lines(texts[name])),
            {alias.name for statement in statements for alias in statement.names},
            others[name],
            everything - common,
            len(everything),
            min(float(asked(python, timed)) for _ in range(ROUNDS)),
        )
    return found


def code_lines(text: str) -> set[int]:
    """有代码的行号。"""
    said: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            said.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    written: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            written.update(range(token.start[0], token.end[0] + 1))
    return written - said


def imports(tree: ast.Module, library: str) -> Iterator[ast.ImportFrom]:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == library:
            yield node


def words(tree: ast.Module) -> Iterator[str]:
    """用到的属性与参数名；标准库模块的不算。"""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module)) if module in STANDARD:
                continue
            case ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
                yield name


def distinct(used: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """去掉家家都有的：那是应用自己的。"""
    everywhere = set.intersection(*used.values())
    return {name: found - everywhere for name, found in used.items()}


def locked(name: str) -> set[str]:
    text = (LOCKS / f"{name}.txt").read_text("utf-8")
    return {normalized(found) for found in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def normalized(name: str) -> str:
    """PEP 503。"""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked(python: str, code: str) -> str:
    """``-I``：当前目录与环境变量里的不算装了的。"""
    command = (python, "-I", "-c", code)
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
