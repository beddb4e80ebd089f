"""定时计划：到期的变成任务。多少个 relay 一起跑，每一次只触发一个。"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from kaguan.database.pool import transaction
from kaguan.outbox.schedules import service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kaguan.config.schedules import Schedule
    from kaguan.database.pool import Pool
    from kaguan.outbox.schedules.service import Fired
    from kaguan.outbox.task_type import TaskTypes
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Schedules:
    """一次 ``run_once`` 办完眼下到期的，各自一个事务：一个办不成不连累别的。"""

    pool: Pool
    schedules: Sequence[Schedule]
    types: TaskTypes
    max_attempts: int
    metrics: Metrics
    _seen: dict[str, str] = field(default_factory=dict)

    async def run_once(self) -> int:
        """返回办了几个（按策略没有补的也算）。

        Raises:
            Exception: 头一个没办成的；别的都办了。
        """
        if not self.schedules:
            return 0
        async with self.pool.connection() as connection:
            due = await service.due(connection, self.schedules, self._seen)
        fired = [await self._fire(schedule) for schedule in due]
        if failures := [one for one in fired if isinstance(one, Exception)]:
            raise failures[0]  # 别的都办了：由循环去说、退避再来
        return len([one for one in fired if one is not None])

    async def _fire(self, schedule: Schedule) -> Fired | Exception | None:
        try:
            async with self.pool.connection() as connection, transaction(connection) as after_commit:
                fired = await service.fire(connection, schedule, self.types, self.max_attempts, after_commit)
        except Exception as error:  # noqa: BLE001 一个办不成不挡着别的，什么错都一样；run_once 再抛
            log.warning("定时计划没办成", schedule=schedule.name, error=type(error).__name__)
            return error
        if fired is not None:
            self.metrics.count_accepted(schedule.type, schedule.queue, len(fired.task_ids))
        return fired
