"""用到的都传进来：没有 ``global``，没有会变的模块变量，没有模块里的连接、配置与指标。"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import aiohttp
from prometheus_client import CollectorRegistry
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from kaguan.config import Settings
from kaguan.telemetry.metrics import Declaring
from tests.architecture.source import functions, nodes
from tests.support.repository import trees

PASSED_IN = (
    Settings,
    AsyncConnectionPool,
    AsyncConnection,
    AsyncEngine,
    Redis,
    aiohttp.ClientSession,
    CollectorRegistry,
    Declaring,
)
PACKAGES = ("api", "kaguan", "relay", "workers")
CONTAINERS = ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
MAKERS = {"dict", "list", "set", "deque", "defaultdict", "Counter", "OrderedDict", "dict.fromkeys"}
CHANGES = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}


def containers(tree: ast.Module) -> set[str]:
    """模块顶层的可变容器。"""
    found = set()
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        made = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in MAKERS
        if made or isinstance(node.value, CONTAINERS):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {ast.unparse(target) for target in targets}
    return found


def changed(node: ast.AST) -> Iterator[str]:
    """这里改动的东西：``x[…] = …``、``del x[…]``、``x.append(…)`` 里的 ``x``。"""
    match node:
        case ast.Subscript(value=target, ctx=ast.Store() | ast.Del()):
            yield ast.unparse(target)
        case ast.Call(func=ast.Attribute(value=target, attr=method)) if method in CHANGES:
            yield ast.unparse(target)


def shared_state(tree: ast.Module) -> set[str]:
    """``global`` 声明的名字，与函数里改动的模块容器。"""
    known, found = containers(tree), set()
    for function in functions(tree):
        for node in ast.walk(function) if known or nodes(tree, ast.Global) else ():
            found |= set(node.names) if isinstance(node, ast.Global) else known & set(changed(node))
    return found


def modules() -> Iterator[ModuleType]:
    for package in map(importlib.import_module, PACKAGES):
        yield package
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(module.name)


def test_no_function_changes_what_a_module_holds() -> None:
    planted = (
        "SEEN = {}\nDONE: list[int] = []\nFIXED = {'a': 1}\n"
        "def one():\n    global count\n    SEEN['a'] = FIXED['a']\n"
        "async def two():\n    DONE.append(1)\n    own = []\n    own.append(2)\n"
    )
    assert shared_state(ast.parse(planted)) == {"count", "SEEN", "DONE"}
    assert {name: found for name, tree in trees("src").items() if (found := shared_state(tree))} == {}


def test_no_module_holds_a_connection_the_settings_or_the_metrics() -> None:
    held = {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, PASSED_IN)
    }
    assert held == set()
