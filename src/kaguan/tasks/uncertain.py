"""结局不明时的策略（I3）：哪些任务类型按策略重发，其余等人定夺。relay 与 worker 用同一处答案。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.config.model import UncertainPolicy
from kaguan.tasks.model import TaskType

if TYPE_CHECKING:
    from kaguan.config.model import Smtp


def resend_types(smtp: Smtp) -> tuple[str, ...]:
    """不明之后重新投递、而不是直接搁置的任务类型：策略为 resend（同一 Message-ID 再发）的，与能查证的（先问再定）。"""
    return (TaskType.EMAIL_SEND,) if smtp.uncertain is UncertainPolicy.RESEND or smtp.verify_url else ()
