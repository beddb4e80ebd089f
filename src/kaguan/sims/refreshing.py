"""此刻就去问一张卡的状态：一个不管新鲜期的状态任务，记在这张卡名下。"""

from __future__ import annotations

from dataclasses import dataclass

from kaguan.database.pool import AfterCommit, Connection
from kaguan.outbox.accept.acceptance import Accepted, Count, Submission, accept_one, uncounted
from kaguan.outbox.vocabulary import Priority
from kaguan.sims import history
from kaguan.sims.iccid import digits_of
from kaguan.sims.tasks import SIM_STATUS_SYNC, SimStatusPayload
from kaguan.words.errors import not_found


@dataclass(frozen=True, slots=True)
class Refreshing:
    """受理了的刷新；``iccid`` 是规范形。"""

    iccid: str
    accepted: Accepted


async def refresh(
    connection: Connection,
    iccid: str,
    principal: str,
    max_attempts: int,
    after_commit: AfterCommit,
    count: Count = uncounted,
) -> Refreshing:
    """受理并记下；连接已在事务中。有人在等着看，所以排最急的队。

    Raises:
        DomainError: 1004，不是 ICCID 或不在库。
    """
    digits = digits_of(iccid)
    sim_id = None if digits is None else await history.live_id(connection, digits)
    if digits is None or sim_id is None:
        raise not_found("卡", "SIM")
    payload = SimStatusPayload(iccids=(digits,), force_sync=True)
    submission = Submission(SIM_STATUS_SYNC, payload, Priority.CRITICAL, principal)
    accepted = await accept_one(connection, submission, max_attempts, after_commit, count)
    await history.note_task(connection, sim_id, accepted.task_id)
    return Refreshing(digits, accepted)
