"""没有人用的代码不留着：src 里没有一处提到的函数、类、方法、字段与模块常量。只有测试在用的，也算没人用。"""

from __future__ import annotations

import ast
import keyword
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from vulture import Vulture

from tests.architecture.source import nodes
from tests.support.repository import ROOT, texts, tracked, trees

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
# 登记即使用：命令、校验、事件、路由
REGISTERED = ["@*.command*", "@*validator*", "@*.listens_for*", "@compiles*", "@endpoint*", "@web.middleware*"]
# 这些类的字段由名字对外（JSON、库表、配置）；枚举的值从外面来
OUTWARD = {"BaseModel", "BaseSettings", "DeclarativeBase", "Enum", "IntEnum", "StrEnum", "Protocol"}
OUTWARD |= {"TokenRow"}  # kaguan token list --json 整个印出来
# 别的库按名字来找的
HOOKS = {
    "__getattr__": "Python 的模块",
    "_value_": "枚举成员的值",
    "_exec_command": "psycopg 的连接发命令的地方",
    "_execute_gen": "psycopg 的游标",
    "_executemany_gen_pipeline": "psycopg 的游标",
    "_expire_at": "psycopg 池里连接的寿命",
    "_load_env_vars": "pydantic-settings 的来源",
    "_read_file": "同上",
    "_pipeline": "psycopg 的连接正在用的管道",
    "prepare_threshold": "psycopg 的连接预备语句的门槛",
    "add_event": "OpenTelemetry 的 Span",
    "abort_threshold": "SAQ 的 Worker.abort 的参数",
    "case_sensitive": "re2 的选项",
    "cursor_factory": "psycopg 连接的游标",
    "discover_master": "redis-py 的 Sentinel",
    "dot_nl": "re2 的选项",
    "emit": "logging 的 Handler",
    "get_description": "OpenTelemetry 的 Sampler",
    "handle_DATA": "aiosmtpd 的处理器",
    "handle_RCPT": "aiosmtpd 的处理器",
    "_factory": "aiohttp 的 TCPConnector",
    "handle_error": "aiohttp 的 RequestHandler",
    "ignore_aliases": "PyYAML 的 Dumper",
    "inherit_cache": "SQLAlchemy 的可编译元素",
    "QueryNoTemplate": "只在 cast 的引号里",
    "notify": "SAQ 的队列",
    "sweep": "SAQ 的队列",
    "record_exception": "OpenTelemetry 的 Span",
    "retries": "SAQ 的 Job",
    "pytest_addoption": "pytest 的插件",
    "pos": "正则的协议里按位置给的参数",
    "should_sample": "OpenTelemetry 的 Sampler",
    "SIGNALS": "SAQ 的 Worker",
    "functions": "SAQ 的 Worker",
    "traceback": "上下文管理器的第三个参数",
    "update_name": "OpenTelemetry 的 Span",
}
# 给别的应用用的
PUBLIC = {f"src/kaguan/outbox/{name}.py" for name in ("__init__", "front", "schema")}
PUBLIC |= {
    f"src/kaguan/outbox/testing/{name}.py"
    for name in ("__init__", "draining", "faults", "fixtures", "outside", "plugin")
}
ENTRY = {"main"}
SHOWN = re.compile(r"\{[{%](.*?)[%}]\}")  # 模板里的表达式与语句


def outward_classes(trees: Mapping[str, ast.Module]) -> set[str]:
    """直接或间接派生自 ``OUTWARD`` 的类。"""
    bases: defaultdict[str, set[str]] = defaultdict(set)
    for tree in trees.values():
        for node in nodes(tree, ast.ClassDef):
            bases[node.name] |= {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
    found = set(OUTWARD)
    while more := {name for name, parents in bases.items() if parents & found} - found:
        found |= more
    return found


def outward_lines(tree: ast.Module, classes: set[str]) -> set[int]:
    """这些类的类体里，字段所在的行。"""
    return {
        statement.lineno
        for node in nodes(tree, ast.ClassDef)
        if node.name in classes
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
    }


def template_words() -> str:
    """模板里提到的名字，写成一段代码给 vulture 看。"""
    pages = (name for name in tracked() if name.startswith("src/") and name.endswith(".html"))
    shown = (part for name in pages for part in SHOWN.findall((ROOT / name).read_text("utf-8")))
    words = {word for part in shown for word in re.findall(r"\.(\w+)", part)}
    return "\n".join(f"page.{word}" for word in sorted(words) if word.isidentifier() and not keyword.iskeyword(word))


def parse(sources: Mapping[str, str]) -> Mapping[str, ast.Module]:
    return trees("src") if sources is texts("src") else {name: ast.parse(text) for name, text in sources.items()}


def unused(sources: Mapping[str, str], also_used: str = "") -> list[str]:
    """vulture 找到的，去掉对外的字段。"""
    vulture = Vulture(ignore_names=[*HOOKS, *ENTRY], ignore_decorators=REGISTERED)
    vulture.scan(also_used)
    parsed = parse(sources)
    for name, text in sources.items():
        vulture.scan(text, Path(name))
    classes = outward_classes(parsed)
    lines = {name: outward_lines(tree, classes) for name, tree in parsed.items()}
    return [
        f"{item.filename}:{item.first_lineno} {item.name}"
        for item in vulture.get_unused_code()
        if str(item.filename) in sources.keys() - PUBLIC and item.first_lineno not in lines[str(item.filename)]
    ]


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """模块顶层的函数、类与常量；有装饰器的函数多半是登记，交给 vulture。"""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) or (isinstance(node, FUNCTION) and not node.decorator_list):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = (part for target in targets for part in ast.walk(target))
            yield from ((part.id, node) for part in parts if isinstance(part, ast.Name))


def module_of(file: str) -> str:
    return file.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def never_read(sources: Mapping[str, str], readers: Mapping[str, str] | None = None) -> list[str]:
    """模块顶层的名字，本模块不读、别的模块（与 ``readers``）也不从这里拿。vulture 只认名字，别处有同名的就放过。"""
    modules = {module_of(name): name for name in sources}
    by_file = parse(sources)
    parsed = {module: by_file[name] for module, name in modules.items()}
    taken: defaultdict[str, set[str]] = defaultdict(set)
    for tree in [*parsed.values(), *(ast.parse(text) for text in (readers or {}).values())]:
        known: dict[str, str] = {}
        for node in nodes(tree, ast.ImportFrom):
            if node.module:
                for alias in node.names:
                    taken[node.module].add(alias.name)
                    known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for part in nodes(tree, ast.Attribute):
            if isinstance(part.value, ast.Name) and part.value.id in known:
                taken[known[part.value.id]].add(part.attr)
    return [
        f"{modules[module]} {name}"
        for module, tree in parsed.items()
        if modules[module] not in PUBLIC
        for reads in [{statement: names_read(statement) for statement in tree.body}]
        for name, own in definitions(tree)
        if name not in taken[module] | ENTRY and not name.startswith("__")
        if not any(name in read for statement, read in reads.items() if statement is not own)
    ]


def names_read(statement: ast.stmt) -> set[str]:
    """读到的名字；引号里的类型、文档里提到的也算。"""
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(re.findall(r"\w+", node.value))
    return found


def test_dead_code_is_noticed() -> None:
    one = "LIMIT = 3\nLEFT = 4\ndef used():\n    return LIMIT\ndef alone():\n    return used()\n"
    two = "from one import used\nLIMIT = 3\nclass Kept:\n    lost: int\n    def method(self):\n        return used()\n"
    planted = {"src/one.py": one, "src/two.py": two}
    assert [line.partition(" ")[2] for line in unused(planted)] == ["LEFT", "alone", "Kept", "lost", "method"]
    assert never_read(planted) == ["src/one.py LEFT", "src/one.py alone", "src/two.py LIMIT", "src/two.py Kept"]


def test_fields_that_face_outward_and_what_a_template_shows_are_used() -> None:
    shape = "class View(BaseModel):\n    latency: float\nclass Row:\n    shown: int\nView(), Row()\n"
    assert unused({"src/a.py": shape}, "page.shown") == []


def test_nothing_in_src_is_dead() -> None:
    migrations = "\n".join(
        text.replace("from __future__ import annotations", "") for text in texts("migrations").values()
    )
    assert unused(texts("src"), f"{template_words()}\n{migrations}") == []


def test_every_name_of_a_module_is_read_somewhere() -> None:
    assert never_read(texts("src"), texts("migrations")) == []


def test_every_hook_is_still_there() -> None:
    words = {word for text in texts("src").values() for word in re.findall(r"\w+", text)}
    assert HOOKS.keys() - words == set()
