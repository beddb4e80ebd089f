"""此刻就去问一张卡的状态：一个不管新鲜期的状态任务，记在这张卡名下。"""

from __future__ import annotations

from kaguan.database.pool import AfterCommit, Connection
from kaguan.outbox.accept.acceptance import Accepted, Count, Submission, accept_one, uncounted
from kaguan.outbox.vocabulary import Priority
from kaguan.sims import history
from kaguan.sims.store import SimRow
from kaguan.sims.tasks import SIM_STATUS_SYNC, SimStatusPayload


async def refresh(
    connection: Connection,
    sim: SimRow,
    principal: str,
    max_attempts: int,
    after_commit: AfterCommit,
    count: Count = uncounted,
) -> Accepted:
    """受理并记下；连接已在事务中。有人在等着看，所以排最急的队。"""
    payload = SimStatusPayload(iccids=(sim.iccid,), force_sync=True)
    submission = Submission(SIM_STATUS_SYNC, payload, Priority.CRITICAL, principal)
    accepted = await accept_one(connection, submission, max_attempts, after_commit, count)
    await history.note_task(connection, sim.id, accepted.task_id)
    return accepted
