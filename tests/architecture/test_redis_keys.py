"""用到的 Redis 键都在一处声明：新的键忘不了，说谎的用例（tests/fuzz/lying.py）就碰得到它。"""

from __future__ import annotations

import ast

from kaguan.queues import keys
from tests.architecture.source import nodes
from tests.support.repository import trees

PREFIXES = ("kaguan:", "saq:")
HOME = "src/kaguan/queues/keys.py"
NOT_KEYS = {"DOORBELL"}  # 频道
PREFIXED = {"LIMITS", "RATE"}  # 库接着写的前缀


def test_no_key_is_written_anywhere_else() -> None:
    found = {
        f"{name}:{node.lineno} {node.value}"
        for name, tree in trees("src").items()
        if name != HOME
        for node in nodes(tree, ast.Constant)
        if isinstance(node.value, str) and node.value.startswith(PREFIXES)
    }
    assert found == set()


def test_every_key_declared_has_a_kind() -> None:
    named = {name: value for name, value in vars(keys).items() if isinstance(value, str) and value.startswith(PREFIXES)}
    assert set(keys.KINDS) == {
        f"{value}:{{}}" if name in PREFIXED else value for name, value in named.items() if name not in NOT_KEYS
    }
