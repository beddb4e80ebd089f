"""卡状态变更 → 待推送的事件任务：与新状态同一事务入箱，要么都在，要么都不在（I4）。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.outbox.accept.acceptance import Count, Submission, accept_many, uncounted
from kaguan.outbox.vocabulary import Priority
from kaguan.sims.tasks import EVENT_PUBLISH, SIM_CHANGES_LIMIT, EventPayload, SimChange
from kaguan.sims.vocabulary import LifecycleState


@dataclass(frozen=True, slots=True)
class ChangeEvents:
    """``max_attempts``：一次推送至多试几次；``count`` 提交之后计数。没有配置 ``webhooks.url`` 就没有这个对象。"""

    max_attempts: int
    count: Count = uncounted

    async def stage(
        self,
        connection: Connection,
        changes: Sequence[Mapping[str, str]],
        at: datetime,
        after_commit: AfterCommit = at_once,
    ) -> None:
        """把一批 ``{iccid, old, new}`` 入箱，每个任务至多 ``SIM_CHANGES_LIMIT`` 条；连接已在事务中。"""
        payloads = [
            EventPayload(
                changes=tuple(
                    SimChange(
                        iccid=change["iccid"],
                        old=LifecycleState(change["old"]),
                        new=LifecycleState(change["new"]),
                        at=at,
                    )
                    for change in changes[start : start + SIM_CHANGES_LIMIT]
                )
            )
            for start in range(0, len(changes), SIM_CHANGES_LIMIT)
        ]
        if payloads:
            submissions = [Submission(EVENT_PUBLISH, payload, Priority.DEFAULT) for payload in payloads]
            await accept_many(connection, submissions, self.max_attempts, after_commit, self.count)
