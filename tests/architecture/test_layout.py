"""一眼看得出什么在哪里：顶层、房间、文件与包的大小；测试按题目分文件夹，互不导入，不按固定的时间睡。"""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from string import ascii_uppercase

from tests.architecture.source import nodes
from tests.support.repository import ROOT, texts, tracked, trees

TOP = {
    ".ci", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile",
    "README.md", "SECURITY.md", "configs", "deploy", "docs", "examples", "migrations", "observability",
    "pyproject.toml", "requirements-bench.txt", "requirements-dev.txt", "requirements-local.txt", "requirements-uv.txt",
    "requirements.txt", "src", "tests",
}  # fmt: skip
TESTS = {
    "__init__.py", "architecture", "attacks", "audit", "bench", "chaos", "checklist", "conftest.py", "contracts",
    "deploy", "drill", "e2e", "failover", "fuzz", "golden", "install-programs.sh", "integration", "migrations", "model",
    "mta", "power", "prove", "simulation", "support", "unit",
}  # fmt: skip
ROOMS = 26  # `ls src/kaguan` 至多这么多项
LINES = 400
LONE = {
    "src/relay": "一个进程的组合根：只有 `__main__.py`",
}
TOGETHER = 15  # 一个文件夹里的用例文件，再多就该分
BY_SUBJECT = ("tests/integration/", "tests/unit/")  # 其下的用例都在一个题目的文件夹里
# 用例的等待要有条件；这里的时间就是题目
PACED = {
    "tests/attacks",
    "tests/bench",
    "tests/chaos",
    "tests/checklist",
    "tests/deploy",
    "tests/drill",
    "tests/fuzz",
    "tests/model",
    "tests/mta",
    "tests/prove",
    "tests/simulation",
}


def children(folder: str) -> set[str]:
    return {name.removeprefix(folder).partition("/")[0] for name in tracked() if name.startswith(folder)}


def test_the_top_level_is_the_one_that_the_guides_describe() -> None:
    assert children("") == TOP
    assert children("src/") == {"api", "kaguan", "relay", "workers"}
    assert children("tests/") == TESTS


def strata() -> list[set[str]]:
    """自上而下，一层里的房间；``kaguan.`` 以外的不算。"""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if "layers" in contract and "containers" not in contract)
    placed = [{name.strip() for name in layer.split("|")} for layer in layers]
    return [{name.removeprefix("kaguan.") for name in layer} for layer in placed if "api" not in layer]


def test_every_module_stands_in_a_room_and_the_rooms_can_be_taken_in_at_a_glance() -> None:
    entries = children("src/kaguan/")
    assert len(entries) <= ROOMS
    assert {name for name in entries if "." in name} == {"__init__.py", "py.typed"}


def test_every_room_has_its_place_in_the_strata_and_says_what_it_may_use() -> None:
    layers = strata()
    assert set().union(*layers) == children("src/kaguan/") - {"__init__.py", "py.typed"}
    for rooms, below in pairwise([*layers, set()]):
        for room in rooms:
            said = ast.get_docstring(ast.parse((ROOT / f"src/kaguan/{room}/__init__.py").read_text("utf-8"))) or ""
            used = {
                one for name in below for one in (f"只用 {name} 及以下的", f"no room above\n``{name}`` is used")
            } or {"不用别的房间"}
            assert any(words in said for words in used), room


def test_the_map_of_rooms_names_every_package() -> None:
    told = (ROOT / "src/kaguan/__init__.py").read_text("utf-8").replace("\n", " ").split(" ")
    assert set().union(*strata()) - set(told) == set()


def long_files(files: Mapping[str, str]) -> set[str]:
    return {name for name, text in files.items() if text.count("\n") > LINES}


def test_a_file_holds_one_subject() -> None:
    assert long_files({"a.py": "\n" * 401, "b.py": "\n" * 400}) == {"a.py"}
    assert long_files(texts("src")) == set()


def lone_packages(names: set[str]) -> set[str]:
    modules = Counter(name.rpartition("/")[0] for name in names if not name.endswith(("/__init__.py", "/__main__.py")))
    packages = {name.rpartition("/")[0] for name in names if name.endswith("/__init__.py")}
    children = Counter(package.rpartition("/")[0] for package in packages)
    return {package for package in packages if modules[package] + children[package] < 2}


def test_a_package_holds_more_than_one_module() -> None:
    assert lone_packages({"a/__init__.py", "a/one.py", "b/__init__.py", "b/x.py", "b/y.py"}) == {"a"}
    assert lone_packages(set(texts("src"))) == set(LONE)


def test_a_folder_of_tests_can_be_taken_in_at_a_glance() -> None:
    files = [name for name in tracked() if name.startswith(BY_SUBJECT) and "/test_" in name]
    assert max(Counter(name.rpartition("/")[0] for name in files).values()) <= TOGETHER
    assert not [name for name in files if name.count("/") < 3]


def test_a_unit_test_stands_where_its_subject_stands() -> None:
    rooms = set().union(*strata()) | children("src/") | {"console", "support"}  # 控制台在 api 里，场地在 tests 里
    assert children("tests/unit/") - rooms == {"__init__.py"}


def imported(tree: ast.Module) -> Iterator[str]:
    """导入的模块；``from 包 import 名`` 的名也许是模块，一并算上。"""
    yield from (alias.name for node in nodes(tree, ast.Import) for alias in node.names)
    for node in nodes(tree, ast.ImportFrom):
        if node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def takes_from_tests(tree: ast.Module) -> list[str]:
    parts = ((name, name.split(".")) for name in imported(tree))
    return [
        name
        for name, path in parts
        if path[0] == "tests" and any(part.startswith("test_") or part == "conftest" for part in path[1:3] + path[3:4])
    ]


def test_no_test_imports_another() -> None:
    """公用的在 tests/support，改一个用例才不会弄坏另一个。"""
    assert takes_from_tests(ast.parse("from tests.unit.config.test_config import SECRETS"))
    assert takes_from_tests(ast.parse("from tests.unit.config import test_config"))
    assert takes_from_tests(ast.parse("from tests.conftest import running"))
    assert not takes_from_tests(ast.parse("from tests.support.eventually import eventually"))
    assert {name: found for name, tree in trees("tests").items() if (found := takes_from_tests(tree))} == {}


class Sleeps(ast.NodeVisitor):
    """睡固定时间的地方：参数里有不是零的数，或大写的常量。while 循环里的是在等一个条件。

    ``call_later`` 也是。等待的时限在 test_waiting.py。
    """

    def __init__(self) -> None:
        self.found: list[int] = []

    def visit_While(self, node: ast.While) -> None:
        """循环里的不算。"""

    def visit_Call(self, node: ast.Call) -> None:
        name = last_name(node.func)
        sleeps = name == "sleep" and any(map(is_fixed, ast.walk(node)))
        later = name == "call_later" and any(map(is_fixed, ast.walk(node.args[0])))
        if sleeps or later:
            self.found.append(node.lineno)
        self.generic_visit(node)


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_fixed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and node.value != 0
    return isinstance(node, ast.Name) and node.id.isupper()


def fixed_sleeps(tree: ast.Module) -> list[int]:
    visitor = Sleeps()
    visitor.visit(tree)
    return visitor.found


def test_no_test_sleeps_for_a_fixed_time() -> None:
    """快机器白等，慢机器不够：等的是什么，就等它（tests/support/eventually.py）。"""
    planted = "await asyncio.sleep(0.5)\nawait asyncio.sleep(PAUSE * 2)\nawait asyncio.sleep(lease * 1.5)"
    assert fixed_sleeps(ast.parse(planted)) == [1, 2, 3]
    assert not fixed_sleeps(ast.parse("await asyncio.sleep(0)\nawait asyncio.sleep(pause)"))
    assert not fixed_sleeps(ast.parse("while not done():\n    await asyncio.sleep(0.1)"))
    assert fixed_sleeps(ast.parse("loop.call_later(0.1, f)")) == [1]
    looked = {
        name: tree
        for name, tree in trees("tests").items()
        if "/test_" in name or not any(name.startswith(f"{folder}/") for folder in PACED)
    }
    found = {name: len(lines) for name, tree in looked.items() if (lines := fixed_sleeps(tree))}
    assert found == {}


def patched(tree: ast.Module) -> set[str]:
    """换掉的模块常量与类：名字以大写起头；名字写在变量里的看不出是谁，也算。"""
    calls = (node for node in nodes(tree, ast.Call) if len(node.args) > 1)
    patches = [call.args for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "setattr"]
    named = [place if isinstance(place, ast.Constant) else name for place, name, *_ in patches]
    found = {
        str(one.value).rpartition(".")[2] if isinstance(one, ast.Constant) else f"{{{ast.unparse(one)}}}"
        for one in named
    }
    stored = (node for node in nodes(tree, ast.Attribute) if isinstance(node.ctx, ast.Store))
    return {name for name in found if name.lstrip("_")[0] in "{" + ascii_uppercase} | {
        node.attr for node in stored if node.attr.isupper()
    }


def test_no_test_patches_a_constant() -> None:
    """要改的是参数：传给用它的对象，谁改了什么才看得出。"""
    planted = 'monkeypatch.setattr(transport, "TICK", 1)\nmonkeypatch.setattr("a.b.PAGE", 1)'
    assert patched(ast.parse(f'{planted}\nmonkeypatch.setattr(os, "write", f)')) == {"TICK", "PAGE"}
    planted = 'for name in NAMES:\n    patch.setattr(m, name, 1)\npatch.setattr("a.Rate", Slow)\nmodule.PAUSE = 0'
    assert patched(ast.parse(planted)) == {"{name}", "Rate", "PAUSE"}
    assert {name: found for name, tree in trees("tests").items() if (found := patched(tree))} == {}
