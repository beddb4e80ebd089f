"""对照：弄坏的任务类型，换过的语句。"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import LiteralString

from kaguan.config import Settings
from kaguan.database import sql
from kaguan.outbox.task_type import TaskTypes, Unknown
from kaguan.product.task_types import task_types


def types_of(settings: Settings, mutations: Sequence[str]) -> TaskTypes:
    """``hold_resends``：该停下等人的，不明就再寄。"""
    types = task_types(settings.smtp)
    if "hold_resends" not in mutations:
        return types
    return TaskTypes(
        one if one.unknown is not Unknown.HOLD else replace(one, unknown=Unknown.RESEND) for one in types.values()
    )


def change_statements(changed: Callable[[str, LiteralString], LiteralString]) -> None:
    """本进程里取到的语句都经 ``changed``（名字，文本）；谁去取、早导入晚导入，都一样。"""
    original = sql.load

    def load(package: str, name: str) -> LiteralString:
        return changed(name, original(package, name))

    for module in list(sys.modules.values()):
        if vars(module).get("load") is original:
            vars(module)["load"] = load
