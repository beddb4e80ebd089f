"""在 SQLAlchemy 的事务里暂存任务：实体与任务、发件箱行同生共死（I4）。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from kaguan.outbox.accept import Submission, accept
from kaguan.outbox.vocabulary import TaskType

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kaguan.database.pool import Connection
    from kaguan.mail.render import Language
    from kaguan.outbox.accept import AfterCommit
    from kaguan.tasks.payloads import EmailPayload


@dataclass(frozen=True, slots=True)
class Stager:
    """以谁的名义、至多试几次地暂存任务。

    ``after_commit`` 收下提交之后才做的事，``language`` 是由它暂存的邮件用的语言。
    """

    principal: str
    max_attempts: int
    after_commit: AfterCommit
    language: Language = "zh"

    async def email(self, connection: AsyncConnection, payload: EmailPayload) -> UUID:
        """暂存一封邮件；连接必须已在事务中，随它提交。返回任务号。"""
        raw = cast("Connection", (await connection.get_raw_connection()).driver_connection)
        submission = Submission(TaskType.EMAIL_SEND, payload, principal=self.principal)
        return (await accept(raw, submission, self.max_attempts, self.after_commit)).task_id
