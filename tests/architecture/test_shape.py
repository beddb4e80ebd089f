"""代码的样子：没有转一手的 getter、setter，没有 I…、…Impl，没有成段抄来的；指南是中文的。"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.architecture.source import nodes
from tests.support.repository import ROOT, texts, tracked, trees

HUNGARIAN = re.compile(r"I[A-Z][a-z]\w*|\w*Impl")
STATEMENTS, NODES = 4, 80  # 连着这么多条语句、这么多个语法节点一字不差，就是抄的
POSITIONAL = 6
# aiohttp、prometheus_client、sys 与 asyncio 的
FOREIGN = ("._base_url", "._value", "._name", "._labelnames", "._getframe", "._ready", "._scheduled", "._selector")
HAN = re.compile(r"[一-鿿]")
WORD = re.compile(r"(?<![\w./:`-])[a-z]{2,}(?![\w/:`-]|\.\w)")
EXCUSE = re.compile(r"# (?:noqa|fmt: skip)")
EXCUSES = 100  # src、tests 各至多这么多处：再多就该改写，或者那条规则不合这里
QUOTED = re.compile(r"`[^`]*`|\]\([^)]*\)|https?://\S+")


def classes(sources: Mapping[str, ast.Module]) -> Iterator[tuple[str, ast.ClassDef]]:
    for name, tree in sources.items():
        yield from ((name, node) for node in nodes(tree, ast.ClassDef))


def is_accessor(method: ast.FunctionDef) -> bool:
    """只把一个属性递出来，或只把参数放进去；属性（``property``）不必用括号，不算。"""
    body = method.body[1:] if ast.get_docstring(method) else method.body
    if method.decorator_list or len(body) != 1 or method.name.startswith("__"):
        return False
    match body[0]:
        case ast.Return(value=ast.Attribute(value=ast.Name(id="self"))):
            return len(method.args.args) == 1
        case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"))], value=ast.Name()):
            return len(method.args.args) == 2
    return False


def misshapen(sources: Mapping[str, ast.Module]) -> list[str]:
    found = [f"{name} {node.name}" for name, node in classes(sources) if HUNGARIAN.fullmatch(node.name)]
    for name, node in classes(sources):
        methods = (one for one in node.body if isinstance(one, ast.FunctionDef))
        found += [f"{name} {node.name}.{method.name}" for method in methods if is_accessor(method)]
    return found


def copied(sources: Mapping[str, ast.Module]) -> list[list[str]]:
    """一字不差地出现在几处的成段语句：各处的位置。"""
    alike: defaultdict[object, list[tuple[str, list[ast.stmt]]]] = defaultdict(list)
    for name, tree in sources.items():
        sizes: dict[ast.AST, int] = {}
        for node in reversed(list(ast.walk(tree))):  # 里面的先数
            sizes[node] = 1 + sum(sizes[child] for child in ast.iter_child_nodes(node))
        blocks = [getattr(node, field, None) for node in sizes for field in ("body", "orelse", "finalbody")]
        for block in (one for one in blocks if isinstance(one, list)):
            for start in range(len(block) - STATEMENTS + 1):
                run = block[start : start + STATEMENTS]
                shape = tuple((type(one), sizes[one]) for one in run)
                if sum(size for _, size in shape) >= NODES and not _declares(run):
                    alike[shape].append((name, run))
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, run in (one for group in alike.values() if len(group) > 1 for one in group):
        places[" ".join(map(ast.dump, run))].append(f"{name}:{run[0].lineno}")
    return [sorted(found) for found in places.values() if len(found) > 1]


def _declares(run: list[ast.stmt]) -> bool:
    """只是导入、定义：那是目录，不是做事的步骤。"""
    return all(isinstance(one, ast.Import | ast.ImportFrom | ast.AnnAssign | ast.ClassDef | ast.Expr) for one in run)


def crowded(sources: Mapping[str, ast.Module]) -> list[str]:
    """不写名字就给了这么多个参数的调用：哪个是哪个，读的人数不过来。"""
    calls = ((name, node) for name, tree in sources.items() for node in nodes(tree, ast.Call))
    return [
        f"{name} {ast.unparse(call.func)}"
        for name, call in calls
        if len(call.args) > POSITIONAL and not any(isinstance(one, ast.Starred) for one in call.args)
    ]


def foreign_lines(text: str) -> list[str]:
    """不在代码块里、有三个词以上而没有汉字的行。"""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for line in prose.splitlines() if not HAN.search(line) and len(WORD.findall(QUOTED.sub("", line))) > 3]


def test_nothing_is_passed_on_by_getters_and_setters_or_named_after_its_kind() -> None:
    planted = (
        "class ICard: pass\nclass StoreImpl: pass\n"
        "class Card:\n    def get_id(self):\n        return self._id\n"
        "    def set_id(self, value):\n        self._id = value\n"
        "    def move(self):\n        return self._id + 1\n"
    )
    assert misshapen({"a.py": ast.parse(planted)}) == [
        "a.py ICard",
        "a.py StoreImpl",
        "a.py Card.get_id",
        "a.py Card.set_id",
    ]
    assert misshapen(trees("src")) == []


def test_no_run_of_statements_is_written_twice() -> None:
    step = "    {0} = open('{0}').read().splitlines()[0].strip().lower().partition(' ')[2].encode('ascii')\n"
    run = "".join(step.format(letter) for letter in "abcd")
    planted = ast.parse(f"def one():\n{run}\ndef two():\n    x = 1\n{run}")
    assert copied({"a.py": planted}) == [["a.py:2", "a.py:9"]]
    assert copied(trees("src")) == []


def test_no_call_gives_more_than_six_parts_without_their_names() -> None:
    assert crowded({"a.py": ast.parse("f(1, 2, 3, 4, 5, 6)\nf(1, 2, 3, 4, 5, 6, 7)\nf(*x)")}) == ["a.py f"]
    # 别人的签名不许写名字
    assert crowded(trees("src")) == ["src/kaguan/logging/repeats.py logging.LogRecord"]


def test_the_guides_are_chinese() -> None:
    assert foreign_lines(
        "这是 a long line in Chinese\n```\nthis is code and stays\n```\nthis is not Chinese at all"
    ) == ["this is not Chinese at all"]
    guides = [name for name in tracked() if name.startswith("docs/002") and name.endswith(".md")]
    assert len(guides) == 4
    assert {name: found for name in guides if (found := foreign_lines((ROOT / name).read_text("utf-8")))} == {}


def test_rules_are_followed_rather_than_excused() -> None:
    planted = "a = 1  # noqa: E1 因为\nb = [\n    1,\n]  # fmt: skip\nc = 3  # 见 noqa\n"
    assert len(EXCUSE.findall(planted)) == 2
    excuses = {under: len(EXCUSE.findall("\n".join(texts(under).values()))) for under in ("src", "tests")}
    assert {under: number for under, number in excuses.items() if number > EXCUSES} == {}


def test_no_test_reaches_into_a_private_name_of_ours() -> None:
    """别人的私名没有公开的取法才取；我们自己的，改名时用例不必知道。"""
    excused = re.compile(r"^.*# noqa:[^\n]*SLF001.*$", re.MULTILINE)
    lines = [line for text in texts("tests").values() for line in excused.findall(text) if "re.compile" not in line]
    assert lines
    assert [line.strip() for line in lines if not any(name in line for name in FOREIGN)] == []
