"""没有一个用例凭这台机器的钟下判断：等待的上限只在一处定，断言里没有量出来的时间。"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping

from tests.architecture.source import functions, nodes
from tests.support.repository import trees

Trees = dict[str, ast.Module]

THE_PLACE = "tests/support/eventually.py"
SHARED = {"PATIENCE", "WHOLE_TEST", "UNHURRIED", "SHIPPED"}  # 后一个是产品出厂的：用例要试的就是它
# 量的就是时间、由 ``make`` 另外跑的程序；其中的 test_*.py 是用例，照样管
CAMPAIGNS = (
    "tests/attacks/",
    "tests/audit/",
    "tests/bench/",
    "tests/chaos/",
    "tests/checklist/",
    "tests/deploy/",
    "tests/drill/",
    "tests/failover/",
    "tests/fuzz/",
    "tests/model/",
    "tests/mta/",
)
# 等待的时限是第几个参数，或者叫什么
POSITION = {
    "timeout": 0,
    "wait_for": 1,
    "eventually": 1,
    "wait": 0,
    "join": 0,
    "result": 0,
    "settimeout": 0,
    "urlopen": 2,
    "set_default_timeout": 0,
    "wait_for_timeout": 0,
}
NAMED = {"timeout", "patience", "connect_timeout", "socket_timeout", "ready_timeout"}
# 这些的时限是产品自己的，用例要试的就是它
SETTINGS = {"Claims", "Job", "ObservedLeases", "UnknownSince", "config_for", "publish", "stage", "stop", "stopped"}
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
ASKED = ".time"
# 时间由这些流过去
CARRIERS = (
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.NamedExpr,
    ast.For,
    ast.AsyncFor,
    ast.comprehension,
    ast.Call,
    ast.keyword,
    ast.Return,
    ast.Assert,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def judged_trees() -> Trees:
    return {name: tree for name, tree in trees("tests").items() if "/test_" in name or not name.startswith(CAMPAIGNS)}


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# ---- 等待的上限


def assigned(tree: ast.Module) -> Mapping[str, ast.expr]:
    """文件里起了名字的值。"""
    stored = [(target, node.value) for node in nodes(tree, ast.Assign) for target in node.targets]
    stored += [(node.target, node.value) for node in nodes(tree, ast.AnnAssign) if node.value is not None]
    return {target.id: value for target, value in stored if isinstance(target, ast.Name)}


def is_own(node: ast.expr, named: Mapping[str, ast.expr]) -> bool:
    """写死的秒数：常量、由常量起的名字，与它们的算式；大写而不是 :data:`SHARED` 的也是。"""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and node.value != 0
    if isinstance(node, ast.Attribute):
        return node.attr.isupper() and node.attr not in SHARED
    if isinstance(node, ast.Name):
        others = {name: value for name, value in named.items() if name != node.id}
        return is_own(named[node.id], others) if node.id in named else node.id.isupper() and node.id not in SHARED
    if isinstance(node, ast.BinOp):
        return is_own(node.left, named) and is_own(node.right, named)
    return False


def limits(call: ast.Call) -> Iterator[ast.expr]:
    name = last_name(call.func)
    if name in SETTINGS:
        return
    yield from (keyword.value for keyword in call.keywords if keyword.arg in NAMED)
    if name == "ClientTimeout":
        yield from (keyword.value for keyword in call.keywords)
    if name in POSITION:
        joins = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant)
        yield from () if joins else call.args[POSITION[name] :][:1]


def own_limits(tree: ast.Module) -> list[int]:
    named = assigned(tree)
    return sorted(
        {node.lineno for node in nodes(tree, ast.Call) if any(is_own(limit, named) for limit in limits(node))}
    )


LIMITS_OF_THEIR_OWN = """
SHORT = 0.3
await asyncio.timeout(30)
await asyncio.wait_for(x, SHORT)
await asyncio.wait({x}, timeout=2 * SHORT)
await eventually(x, 60)
subprocess.run(x, timeout=IMPORTED)
urlopen(x, None, 10)
process.wait(5)
process.communicate(timeout=1)
page.goto(x, timeout=500)
await ear.get_message(timeout=30)
Program(x, ready_timeout=20.0)
psycopg.connect(x, connect_timeout=3)
ClientSession(timeout=ClientTimeout(total=5))
"""
SHARED_LIMITS = """
await asyncio.timeout(PATIENCE)
await eventually(x, 5 * PATIENCE)
page.goto(x, timeout=PATIENCE * 1000)
await asyncio.wait({x})
await asyncio.wait({x}, timeout=share * 1.5)
config_for(url, timeout=0.3)
x.wait(limit)
", ".join(SHORT)
"""


def test_every_limit_of_a_wait_is_the_one_that_all_share() -> None:
    """上限是给挂住的东西的；自己写的秒数，换一台慢的机器就成了断言。"""
    assert own_limits(ast.parse(LIMITS_OF_THEIR_OWN)) == [*range(3, 16)]
    assert own_limits(ast.parse(SHARED_LIMITS)) == []
    assert own_limits(ast.parse("PATIENCE = 60\nawait eventually(x, PATIENCE)")) == [2]
    found = {name: lines for name, tree in judged_trees().items() if name != THE_PLACE and (lines := own_limits(tree))}
    assert found == {}


# ---- 量出来的时间


NOTHING, MOMENT, SPAN = range(3)


class Flow:
    """钟上读来的数流到哪里，是时刻还是一段：变量按函数分，属性与函数按名字。比大小的、数个数的，出来的不再是时间。"""

    def __init__(self, given: Trees) -> None:
        self.named: dict[tuple[object, str], int] = {}
        self.unread = {
            name: (tree, words([*nodes(tree, ast.Name), *nodes(tree, ast.Attribute)])) for name, tree in given.items()
        }
        self.parts: list[tuple[str, ast.AST, ast.AST, set[str]]] = []
        known = -1
        while known < (known := self._spread()):
            pass

    def _spread(self) -> int:
        for _, scope, node in self._concerned():
            for value, target in stored(node):
                self._keep(scope, target, self.kind(value, scope))
            if isinstance(node, ast.keyword) and node.arg and self.kind(node.value, scope) is SPAN:
                self.named[ast.Attribute, node.arg] = SPAN
            if isinstance(node, ast.Return) and node.value is not None and isinstance(scope, FUNCTIONS):
                self._raise((ast.Call, scope.name), self.kind(node.value, scope))
        return sum(self.named.values())

    def _concerned(self) -> list[tuple[str, ast.AST, ast.AST]]:
        """提到过钟或已知名字的：别的不必看。"""
        known = CLOCKS | {ASKED} | {name for (_, name), kind in self.named.items() if kind}
        for name in [name for name, (_, said) in self.unread.items() if not known.isdisjoint(said)]:
            tree, _ = self.unread.pop(name)
            scopes = [tree, *functions(tree)]
            carriers = ((scope, node) for scope in scopes for node in own_nodes(scope) if isinstance(node, CARRIERS))
            self.parts += [(name, scope, node, words(ast.walk(node))) for scope, node in carriers]
        return [(name, scope, node) for name, scope, node, said in self.parts if not known.isdisjoint(said)]

    def _keep(self, scope: ast.AST, target: ast.expr, kind: int) -> None:
        if isinstance(target, ast.Attribute):
            self._raise((ast.Attribute, target.attr), kind)
        elif isinstance(target, ast.Name):
            self._raise((scope, target.id), kind)
        elif isinstance(target, ast.Tuple):
            for one in target.elts:
                self._keep(scope, one, kind)

    def _raise(self, key: tuple[object, str], kind: int) -> None:
        self.named[key] = max(kind, self.named.get(key, NOTHING))

    def kind(self, node: ast.AST, scope: ast.AST) -> int:
        if isinstance(node, ast.Compare | ast.Lambda):
            return NOTHING
        if isinstance(node, ast.Name):
            return self.named.get((scope, node.id), NOTHING)
        own = NOTHING
        if isinstance(node, ast.Call):
            if (name := last_name(node.func)) == "len":
                return NOTHING
            own = MOMENT if reads_clock(node) else self.named.get((ast.Call, name), NOTHING)
        elif isinstance(node, ast.Attribute):
            own = self.named.get((ast.Attribute, node.attr), NOTHING)
        found = max([own, *(self.kind(part, scope) for part in ast.iter_child_nodes(node))])
        if found and isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and not is_fixed(node.right):
            return SPAN
        return found

    def judged(self) -> list[tuple[str, int]]:
        """断言里拿一段时间比的地方。"""
        return sorted(
            {
                (name, node.lineno)
                for name, scope, node in self._concerned()
                if isinstance(node, ast.Assert)
                for compared in ast.walk(node.test)
                if isinstance(compared, ast.Compare)
                if any(self.kind(side, scope) is SPAN for side in (compared.left, *compared.comparators))
            }
        )


def words(parts: Iterable[ast.AST]) -> set[str]:
    """提到的名字；叫 ``time`` 的属性多半是钟，另记一个。"""
    found = set()
    for part in parts:
        if isinstance(part, ast.Name):
            found.add(part.id)
        elif isinstance(part, ast.Attribute):
            found.add(part.attr)
            if part.attr == "time":
                found.add(ASKED)
    return found


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """这个函数自己的，不进里面的函数。"""
    left = [scope]
    while left:
        for child in ast.iter_child_nodes(left.pop()):
            yield child
            if not isinstance(child, FUNCTIONS):
                left.append(child)


def stored(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """存下的值，与它存进的地方。"""
    if isinstance(node, ast.Assign):
        yield from ((node.value, target) for target in node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.value, node.target
    elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
        yield node.iter, node.target
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
        yield node.args[0], node.func.value


def is_fixed(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or last_name(node).isupper()


def reads_clock(call: ast.Call) -> bool:
    name = last_name(call.func)
    return name in CLOCKS or (name == "time" and isinstance(call.func, ast.Attribute) and not call.args)


JUDGED_SECONDS = """
def lasted():
    return time.perf_counter() - since
async def test():
    began = loop.time()
    assert loop.time() - began < 0.2
    took = time.monotonic() - began
    assert took < 0.2
    assert lasted() < 0.2
    made = Reply(delay=took)
    assert [one for one in made if one.delay > 1]
    seen.moments.append(time.monotonic())
    gaps = [b - a for a, b in pairwise(seen.moments)]
    assert all(gap < 0.2 for gap in gaps)
    assert max(await asyncio.gather(lasted())) <= LIMIT
"""
NO_SECONDS = """
async def test():
    began = loop.time()
    record_property("x", loop.time() - began)
    assert len(moments) == 3
    await eventually(lambda: loop.time() > began)
    assert answered == ["first", "second"]
    assert sum(moment > began for moment in moments) == 3
def other():
    assert began < 3
"""


def test_no_assertion_compares_what_a_clock_has_measured() -> None:
    """断言的是次序、次数、状态，或与同时跑的对照之比；以秒计的承诺由 ``make bench``、``make prove P=checklist`` 量。"""
    assert [line for _, line in Flow({"x": ast.parse(JUDGED_SECONDS)}).judged()] == [6, 8, 9, 11, 14, 15]
    assert Flow({"x": ast.parse(NO_SECONDS)}).judged() == []
    assert Flow(judged_trees()).judged() == []
