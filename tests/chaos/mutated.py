"""对照：弄坏的任务类型。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kaguan.config import Settings
from kaguan.outbox.task_type import TaskTypes, Unknown
from kaguan.product.task_types import task_types


def types_of(settings: Settings, mutations: Sequence[str]) -> TaskTypes:
    """``hold_resends``：不管策略是什么，不明就再寄。"""
    types = task_types(settings.smtp)
    if "hold_resends" not in mutations:
        return types
    return TaskTypes(one if one.unknown is None else replace(one, unknown=Unknown.RESEND) for one in types.values())
