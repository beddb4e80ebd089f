"""没有人拨的开关不留着：默认为真、假或空元组的参数（不可变的数据类的字段也算），src 里总有一处给它。

时长、个数、钟不在内：测试要改它们，正该经参数。
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.architecture.source import functions, nodes
from tests.support.repository import trees

FORWARDERS = {"partial", "to_thread"}  # 头一个参数才是要叫的
# 由 src 的 Python 之外来给
ELSEWHERE = {
    "Execution.__call__ deliveries": "SAQ 照队列里的参数来叫",
    "Formatter.rate capped": "模板来叫",
    "Outbox.handles resend": "给应用用",
    "Outbox.task resend": "给应用用",
    "Drain.__call__ skip_waits": "给应用自己的测试用",
}


def name_of(callee: ast.expr) -> str:
    """``a.b[c]`` 叫的是 ``b``。"""
    match callee:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=inner):
            return name_of(inner)
    return ""


def given(sources: Mapping[str, ast.Module]) -> Mapping[str, set[str | int | None]]:
    """被叫的名字 → 给过的参数，按名字或位置；摊开来给的是 ``None``：也许什么都给了。"""
    found: defaultdict[str, set[str | int | None]] = defaultdict(set)
    for call in (call for tree in sources.values() for call in nodes(tree, ast.Call)):
        name, arguments = name_of(call.func), call.args
        if name in FORWARDERS and arguments:
            name, arguments = name_of(arguments[0]), arguments[1:]
        if isinstance(call.func, ast.Call):  # 不写成 @ 的登记
            for one in arguments:
                found[name_of(one)].add(None)
        found[name].update(one.arg for one in call.keywords)
        found[name].update(None if isinstance(one, ast.Starred) else place for place, one in enumerate(arguments))
    return found


def is_switch(default: ast.expr | None) -> bool:
    match default:
        case ast.Constant(value=bool()) | ast.Tuple(elts=[]):
            return True
    return False


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """参数或字段，与它的默认值，依次；用装饰器登记的函数由登记处来叫，不看。"""
    decorators = [ast.unparse(one) for one in node.decorator_list]
    if isinstance(node, ast.ClassDef):
        if any("frozen=True" in one for one in decorators):
            fields = (one for one in node.body if isinstance(one, ast.AnnAssign))
            yield from ((ast.unparse(field.target), field.value) for field in fields)
    elif not any("(" in one for one in decorators):
        own = node.args
        positional = [*own.posonlyargs, *own.args]
        required = len(positional) - len(own.defaults)
        defaults = [*[None] * required, *own.defaults, *own.kw_defaults]
        yield from zip((one.arg for one in [*positional, *own.kwonlyargs]), defaults, strict=True)


def untouched(sources: Mapping[str, ast.Module]) -> list[str]:
    """没有一处给过的开关。只认名字：别处有同名的给了，就放过。"""
    calls = given(sources)
    replaced = {one for one in calls.get("replace", ()) if isinstance(one, str)}
    found = []
    for tree in sources.values():
        classes = nodes(tree, ast.ClassDef)
        methods = {id(one): owner.name for owner in classes for one in owner.body}
        for node in [*functions(tree), *classes]:
            owner = methods.get(id(node))
            callee = owner if owner and node.name == "__init__" else node.name
            bound = owner is not None and not isinstance(node, ast.ClassDef)
            for place, (name, default) in enumerate(parameters(node), -bound):
                thrown = calls.get(callee, set()) | (replaced if isinstance(node, ast.ClassDef) else set())
                if is_switch(default) and not thrown & {name, place, None}:
                    found.append(f"{f'{owner}.' if bound else ''}{node.name} {name}")
    return sorted(found)


def test_a_switch_that_nobody_throws_is_noticed() -> None:
    planted = """
@dataclass(frozen=True)
class Server:
    port: int
    loud: bool = True
    durable: bool = True
    def serve(self, *, deaf: bool = False, without: tuple[str, ...] = (), limit: float = 1.0) -> None: ...
    def stop(self, hard: bool = False, late: bool = False) -> None: ...
@app.command("up")
def up(as_json: bool = False) -> None: ...
def up_again(as_json: bool = False) -> None: ...
def probe(quick: bool = False) -> None: ...
Server(1, False).serve(deaf=True)
partial(server.stop, True)
app.command()(up_again)
probe(**options)
"""
    found = ["Server durable", "Server.serve without", "Server.stop late"]
    assert untouched({"src/a.py": ast.parse(planted)}) == found


def test_every_switch_is_thrown_somewhere_in_src() -> None:
    assert untouched(trees("src")) == sorted(ELSEWHERE)
