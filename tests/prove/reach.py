"""一场走得到用例的哪些文件：只改了它走不到的用例、它不读的文档，它从前跑的就是这份代码。别处无论改了什么，都要重跑。"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from tests.prove.campaigns import Campaign
from tests.support.repository import ROOT

PATHS: Final = re.compile(r"\btests(?:/[\w*-]+)+(?:\.\w+)?(?![\w/*-])")  # 末尾带斜线的是前缀，不是去跑它
MODULES: Final = re.compile(r"\btests(?:\.\w+)+")
IMPORTED: Final = re.compile(r"^ *from (tests[\w.]*) import (\([^)]*\)|.*)$", re.MULTILINE)
RUN: Final = re.compile(r"-m\W+(tests(?:\.\w+)*)")
BESIDE: Final = re.compile(r'"(\w+\.py)"')  # Path(__file__).with_name("…")
PYTEST: Final = re.compile(r"-m\W+pytest")  # 它自己去找 conftest.py
ANY_OF: Final = re.compile(r"\btests(?:\.\w+)+(?=\.\{)")  # f"tests.support.{…}"
WHOLE_SUITE: Final = re.compile(r"-m pytest(?!.*tests/)", re.DOTALL)


def is_untouched(campaign: Campaign, changed: frozenset[str]) -> bool:
    """``changed`` 里没有它走得到的；不是用例的源码与文档的、已经没有了的，都当它走得到。"""
    if not changed:
        return True
    found = {ROOT / name for name in changed}
    kept = {file for file in found if file.exists()}
    tests = {file for file in kept if file.suffix == ".py" and file.is_relative_to(ROOT / "tests")}
    documents = {file for file in kept if file.suffix == ".md" and file.is_relative_to(ROOT / "docs")}
    return (
        tests | documents == found
        and tests.isdisjoint(reached(campaign.script))
        and not any(reads(campaign.script, document.stem) for document in documents)
    )


@cache
def reads(script: str, stem: str) -> bool:
    """它走得到的文件里有一个提到这份文档，或说的是每一份。"""
    return any(name in file.read_text("utf-8") for file in reached(script) for name in (stem, "*.md"))


@cache
def reached(script: str) -> frozenset[Path]:
    """命令里写着的，它们又写着的，一直到底：导入的、另起进程跑的、只在字里提到的。"""
    waiting = [*named(script)]
    if WHOLE_SUITE.search(script):
        waiting += (ROOT / "tests").rglob("*.py")
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += named_in(file)
    return frozenset(found)


@cache
def named_in(file: Path) -> frozenset[Path]:
    packages = (parent / "__init__.py" for parent in file.parents if parent.is_relative_to(ROOT / "tests"))
    text = file.read_text("utf-8")
    beside = {file.with_name(name) for name in BESIDE.findall(text)}
    return frozenset(named(text)) | {one for one in (*packages, *beside) if one.exists()}


def named(text: str) -> Iterator[Path]:
    if PYTEST.search(text):
        yield from (ROOT / "tests").rglob("conftest.py")
    for path in PATHS.findall(text):
        for found in ROOT.glob(path):
            yield from found.rglob("*.py") if found.is_dir() else [found] if found.suffix == ".py" else []
    for package in ANY_OF.findall(text):
        yield from ROOT.joinpath(*package.split(".")).rglob("*.py")
    modules = [*MODULES.findall(text), *(f"{module}.__main__" for module in RUN.findall(text))]
    modules += [f"{package}.{name}" for package, names in IMPORTED.findall(text) for name in re.findall(r"\w+", names)]
    for module in modules:
        yield from modules_of(module)


@cache
def modules_of(dotted: str) -> tuple[Path, ...]:
    """``tests.a.b.Name`` 的文件；后面几节是模块里的名字。"""
    place = ROOT.joinpath(*dotted.split("."))
    while place != ROOT:
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.exists():
                return (file,)
        place = place.parent
    return ()
