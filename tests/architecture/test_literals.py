"""一件事只写在一处：同名同值的常量、写了几遍的文字与数，改的时候总会漏掉一处。"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.architecture.source import nodes
from tests.support.repository import SOURCE, trees

TIMES = 3  # 一段文字、一个数写了这么多遍，就该有个名字
LONG = 8  # 字符；更短的是词
SMALL, ROUND = 100, 1_000  # 数：三位以下的不查；千是毫秒、千分之
# 一整段话、一条路径、一个带限定的名字；单个的词是列名、字段名，SQL 与 JSON 里也得这么写
COMPOUND = re.compile(r"[.:/ ]|[一-鿿]{4}")
# 标准里的名字，标准就是它的出处：HTTP 头、媒体类型、OpenTelemetry 的属性
STANDARD = re.compile(r"(?:[A-Z][a-z]*|ID|WWW)(?:-[A-Z][A-Za-z]*)*|(?:text|application)/[\w.+-]+|otel\.[\w.]+")
# 同名同值而两回事的
COINCIDENCES = {
    "CAUSE": "控制台与命令行各说自己的一次重投是人叫的",
    "CONNECT_TIMEOUT": "迁移与开发令牌各自连一次库",
    "MAX_DEPTH": "请求体的层数与脱敏的层数",
    "MAX_ROWS": "页面画几行与一次提交合并几个",
    "T": "类型变量，各模块自己的",
}
# 一字不差而两回事的
ALIKE = {"length(reason) between 1 and 500": "四张表各自的 CHECK，写的是库里的样子"}
UNIT = re.compile(r"[KMGT]I?B|(?:SECONDS_PER_)?(?:MINUTE|HOUR|DAY|WEEK|YEAR)|(?:KILO|MEGA|GIGA)BYTE")


def packages(sources: Mapping[str, ast.Module]) -> set[str]:
    """包自己的名字：模板与 SQL 按它取。"""
    found = (
        name.removeprefix("src/").removesuffix("/__init__.py") for name in sources if name.endswith("/__init__.py")
    )
    return {name.replace("/", ".") for name in found}


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """模块顶层的常量与它的值。一个词的数（``PAGE``、``INTERVAL``）各管各的，相等是凑巧，不算；别名也不算。"""
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    pairs = [pair for node in assignments for target in node.targets for pair in assigned(target, node.value)]
    for name, value in pairs:
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        is_number = isinstance(value, ast.Constant | ast.BinOp) and not is_text
        is_alias = isinstance(value, ast.Name | ast.Attribute)
        if name.isupper() and not is_alias and ("_" in name or not is_number):
            yield name, ast.unparse(value)


def units(sources: Mapping[str, ast.Module]) -> set[str]:
    """声明时间与字节的单位的模块。"""
    return {
        name
        for name, tree in sources.items()
        for node in nodes(tree, ast.Name)
        if isinstance(node.ctx, ast.Store) and UNIT.fullmatch(node.id)
    }


def assigned(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """一次赋值里的各个名字与各自的值：``A, B = 1, 2`` 是两个。"""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from assigned(one, its)


def twins(sources: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """在几个模块里各声明一遍的常量。"""
    where: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name, tree in sources.items():
        for constant in constants(tree):
            where[constant].append(name)
    own = {repr(package) for package in packages(sources)}
    return {name: sorted(files) for (name, value), files in where.items() if len(files) > 1 and value not in own}


def told(tree: ast.Module) -> Iterator[ast.AST]:
    """不算的文字：文档字符串、拼接的片段、日志的事件、类型标注里的。"""
    yield from (node.value for node in nodes(tree, ast.Expr))
    yield from (part for node in nodes(tree, ast.JoinedStr) for part in node.values)
    for call in nodes(tree, ast.Call):
        if isinstance(call.func, ast.Attribute) and names(call.func.value, "log"):
            yield from call.args
    for node in nodes(tree, ast.Subscript):
        if names(node.value, "Literal"):
            yield from ast.walk(node)


def names(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def codes() -> set[str]:
    """词汇表里的键：``房间.键``。"""
    tables = [(file.parent.name, tomllib.loads(file.read_text("utf-8"))) for file in SOURCE.rglob("*.toml")]
    return {f"{room}.{key}" for room, table in tables for key in table}


def repeated(sources: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """一字不差地写了 ``TIMES`` 遍以上的文字。"""
    where: defaultdict[str, list[str]] = defaultdict(list)
    for name, tree in sources.items():
        skipped = set(map(id, told(tree)))
        for node in nodes(tree, ast.Constant):
            if isinstance(node.value, str) and id(node) not in skipped:
                where[node.value].append(f"{name}:{node.lineno}")
    known = packages(sources) | codes()
    return {
        text: places
        for text, places in where.items()
        if len(places) >= TIMES and len(text) >= LONG and COMPOUND.search(text)
        if text not in known and not STANDARD.fullmatch(text)
    }


def named(tree: ast.Module) -> Iterator[ast.expr]:
    """有名字的值：常量、字段与参数的缺省、按名字给的参数。"""
    for body in (tree.body, *(owner.body for owner in nodes(tree, ast.ClassDef))):
        yield from (one.value for one in body if isinstance(one, ast.Assign | ast.AnnAssign) and one.value)
    for given in nodes(tree, ast.arguments):
        yield from filter(None, (*given.defaults, *given.kw_defaults))
    yield from (node.value for node in nodes(tree, ast.keyword))


def nameless(sources: Mapping[str, ast.Module]) -> dict[float, list[str]]:
    """写在表达式里 ``TIMES`` 遍以上、三位以上的数：该有个名字。"""
    where: defaultdict[float, list[str]] = defaultdict(list)
    for name, tree in sources.items():
        skipped = {id(node) for value in named(tree) for node in ast.walk(value)}
        for node in nodes(tree, ast.Constant):
            if isinstance(node.value, int | float) and id(node) not in skipped:
                where[node.value].append(f"{name}:{node.lineno}")
    often = {number: places for number, places in where.items() if len(places) >= TIMES}
    return {number: places for number, places in often.items() if number > SMALL and number != ROUND}


def looked_at() -> dict[str, ast.Module]:
    """给文档看的样例照着真的写，写几遍都行。"""
    return {name: tree for name, tree in trees("src").items() if not name.endswith("examples.py")}


def test_a_twin_is_noticed() -> None:
    text = """
MAX_NAME = 100
PAGE = 50
WRITE = "tasks:write"
SETTLED = frozenset({"failed"})
RECONNECT = (0.5, 1.5)
FIRST_TRY, TRIES = 0.2, 5
HIT = SETTLED
"""
    found = set(twins({name: ast.parse(text) for name in ("a.py", "b.py")}))
    assert found == {"MAX_NAME", "WRITE", "SETTLED", "RECONNECT", "FIRST_TRY"}


def test_a_repeated_text_is_noticed_and_a_log_event_is_not() -> None:
    text = 'log.info("连不上 PostgreSQL")\nask("task.replay")\nfield = "created_at"\nheaders["Content-Type"]'
    assert set(repeated({name: ast.parse(text) for name in ("a.py", "b.py", "c.py")})) == {"task.replay"}


def test_no_constant_is_declared_twice() -> None:
    assert {name: files for name, files in twins(looked_at()).items() if name not in COINCIDENCES} == {}


def test_the_units_stand_in_one_place() -> None:
    planted = {name: ast.parse(f"{name} = 60") for name in ("SECONDS_PER_DAY", "MIB", "MAX_DAY", "PAGE")}
    assert units(planted) == {"SECONDS_PER_DAY", "MIB"}
    assert units(looked_at()) == {"src/kaguan/words/units.py"}


def test_no_text_is_written_in_several_files() -> None:
    assert {text: places for text, places in repeated(looked_at()).items() if text not in ALIKE} == {}


def test_no_number_is_written_again_and_again_without_a_name() -> None:
    text = "def wait():\n    sleep(250)\nLONGEST = 300\nask(timeout=400)\nhalf = 1_000 / 2"
    assert set(nameless({name: ast.parse(text) for name in ("a.py", "b.py", "c.py")})) == {250}
    assert nameless(looked_at()) == {}


def test_every_exception_is_still_needed() -> None:
    assert set(COINCIDENCES) <= set(twins(looked_at()))
    assert set(ALIKE) <= set(repeated(looked_at()))
