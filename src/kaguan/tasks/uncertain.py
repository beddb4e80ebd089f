"""结局不明时的策略（I3）：哪些任务类型按策略重发，其余等人定夺。relay 与 worker 用同一处答案。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.config.model import UncertainPolicy
from kaguan.tasks.model import TaskType

if TYPE_CHECKING:
    from kaguan.config.model import Smtp


def resend_types(smtp: Smtp) -> tuple[str, ...]:
    """策略为 resend（同一 Message-ID 再发）的任务类型。"""
    return (TaskType.EMAIL_SEND,) if smtp.uncertain is UncertainPolicy.RESEND else ()
