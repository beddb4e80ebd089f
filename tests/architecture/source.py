"""语法树的节点：每棵树只走一遍，各项检查都从这里拿。"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeVar, cast

Kind = TypeVar("Kind", bound=ast.AST)


@cache
def _by_kind(tree: ast.Module) -> Mapping[type[ast.AST], Sequence[ast.AST]]:
    found = defaultdict[type[ast.AST], list[ast.AST]](list)
    for node in ast.walk(tree):
        found[type(node)].append(node)
    return dict(found)


def nodes(tree: ast.Module, kind: type[Kind]) -> Sequence[Kind]:
    """这一种的全部，自外而内。"""
    return cast("Sequence[Kind]", _by_kind(tree).get(kind, ()))


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [*nodes(tree, ast.FunctionDef), *nodes(tree, ast.AsyncFunctionDef)]
