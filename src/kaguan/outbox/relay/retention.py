"""保留期：默认就开着，小批删除，不让表长成千万行（LESSONS「What the field suffers from」）。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from kaguan.console.store import expire_audit
from kaguan.outbox import ordering, store

if TYPE_CHECKING:
    from kaguan.config.model import Tasks
    from kaguan.database.pool import Pool

log = structlog.get_logger(__name__)

BATCH = 1_000
ANONYMOUS_DAYS = 7  # 没认出是谁的拒绝：谁都能造出来


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
            audits = await expire_audit(connection, self.config.audit_retention_days, ANONYMOUS_DAYS, BATCH)
        gone = tasks + keys + orderings + audits
        if gone:
            log.info("清理过期记录", tasks=tasks, idempotency_keys=keys, ordering_keys=orderings, audits=audits)
        return gone
