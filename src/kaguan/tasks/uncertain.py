"""结局不明时的策略（I3）：哪些任务类型重新投递，其余等人定夺。relay 与 worker 用同一处答案。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.config.model import UncertainPolicy
from kaguan.outbox.vocabulary import TaskEventKind, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaguan.config.model import Smtp


def redelivered_kinds(smtp: Smtp) -> Mapping[str, TaskEventKind]:
    """不明之后重新投递、而不是直接搁置的任务类型 → 时间线上记作什么：先查证再定，还是同一 Message-ID 再发。"""
    if smtp.verify_url:
        return {TaskType.EMAIL_SEND: TaskEventKind.TO_VERIFY}
    return {TaskType.EMAIL_SEND: TaskEventKind.RESEND} if smtp.uncertain is UncertainPolicy.RESEND else {}
