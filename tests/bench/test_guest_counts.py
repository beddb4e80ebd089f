"""并排的数是机器数的：什么算一行代码，什么算要认得的名字，哪些包是公共的。"""

from __future__ import annotations

import ast

from tests.bench.guest_counts import SHOPS, code_lines, distinct, imports, locked, words
from tests.bench.guests import GUESTS

SHOP = '''"""说明。

两行。
"""

import time
from queue.types import (
    Job,  # 注释
    Queue,
)
from elsewhere import Thing

# 注释
queue = Queue(dsn="")
late = """也是
代码"""


def work(thing: Thing) -> float:
    """说明。"""
    return time.time() - thing.pushed
'''


def test_blank_lines_comments_and_docstrings_are_no_code() -> None:
    assert len(code_lines(SHOP)) == 11


def test_names_are_those_that_are_imported_and_those_that_not_everybody_uses() -> None:
    tree = ast.parse(SHOP)
    assert [alias.name for found in imports(tree, "queue") for alias in found.names] == ["Job", "Queue"]
    assert set(words(tree)) == {"dsn", "pushed"}
    assert distinct({"a": {"dsn", "pushed"}, "b": {"dsn"}}) == {"a": {"pushed"}, "b": set()}


def test_every_shop_imports_its_library_and_has_all_that_is_common() -> None:
    common = locked("shop")
    assert {"fastapi", "psycopg", "sqlalchemy", "uvicorn"} <= common
    for guest in GUESTS:
        tree = ast.parse((SHOPS / f"{guest.name}.py").read_text("utf-8"))
        assert list(imports(tree, guest.name)), guest
        assert common <= locked(guest.name), guest
