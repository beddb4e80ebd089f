"""处理器登记：每种任务恰好一个，缺一个就不启动。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.tasks.model import TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workers.attempt import Handler


def complete(handlers: Mapping[TaskType, Handler]) -> Mapping[TaskType, Handler]:
    """确认登记齐全。

    Raises:
        LookupError: 有任务类型没有处理器。
    """
    missing = set(TaskType) - set(handlers)
    if missing:
        raise LookupError(f"这些任务类型没有处理器：{sorted(missing)}")
    return handlers
