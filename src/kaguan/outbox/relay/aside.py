"""搁下交不了的：证明不了已入队的过一会儿再交，不认得的类型等升级过的 relay，等不到的当毒丸停下。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from psycopg.types.json import Jsonb

from kaguan.database.sql import load
from kaguan.outbox.upgrade import DEFER, UnknownSince
from kaguan.words.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from kaguan.database.pool import Connection
    from kaguan.outbox.store import Due
    from kaguan.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

PACKAGE = "kaguan.outbox"


async def defer(connection: Connection, task_ids: Sequence[UUID], delay: float) -> None:
    """``delay`` 秒之后再交。"""
    await connection.execute(load(PACKAGE, "defer"), {"task_ids": list(task_ids), "delay": delay})


async def set_aside(connection: Connection, rows: Sequence[Due], since: UnknownSince, metrics: Metrics) -> None:
    """本版本不认得的类型：滚动升级时留给新的 relay；本进程见了它太久还没人认得，就是毒丸。"""
    await defer(connection, [row.task_id for row in rows], DEFER)
    for row in rows:
        log.error("不认得的任务类型，搁下", task_id=str(row.task_id), task_type=row.type)
        if since.outlasted(row.type, row.task_id, row.delivery):
            reason = Reason("outbox.unknown_type", {"type": row.type})
            parameters = {"task_id": row.task_id, "reason": str(reason), "error": Jsonb(reason.stored())}
            locked = await connection.execute(load(PACKAGE, "lock_waiting"), {"task_id": row.task_id})
            if await locked.fetchone() is None:  # 有人正认领它、取消它：已搁下，下次再说
                continue
            await connection.execute(load(PACKAGE, "park"), parameters)
            metrics.parked.labels("unknown").inc()
