"""保留期：默认就开着，小批删除，不让表长成千万行（LESSONS「What the field suffers from」）。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from kaguan.outbox import store
from kaguan.tasks import ordering

if TYPE_CHECKING:
    from kaguan.config.model import Tasks
    from kaguan.database.pool import Pool

log = structlog.get_logger(__name__)

BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Retention:
    pool: Pool
    config: Tasks

    async def run_once(self) -> int:
        """清一批；返回删去的行数。"""
        async with self.pool.connection() as connection:
            tasks = await store.expire_tasks(connection, self.config.retention_days, BATCH)
            keys = await store.expire_keys(connection, BATCH)
            orderings = await ordering.expire(connection, self.config.retention_days, BATCH)
        if tasks or keys or orderings:
            log.info("清理过期记录", tasks=tasks, idempotency_keys=keys, ordering_keys=orderings)
        return tasks + keys + orderings
