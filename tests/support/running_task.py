"""一行 running 的任务，绕过受理与认领写下：只考处理器的用例用。"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from kaguan.outbox.worker.attempt import Attempt
from kaguan.outbox.worker.token import Token

if TYPE_CHECKING:
    from kaguan.database.pool import Pool
    from kaguan.outbox.task_type import Payload


async def running_task(pool: Pool, kind: str, payload: Payload, token: Token | None = None) -> Attempt:
    """一行 running 的任务，与它的第一次尝试。"""
    token = token or Token(UUID(str(uuid7())), 1, uuid4())
    body = payload.model_dump(mode="json")
    async with pool.connection() as connection:
        await connection.execute(
            "insert into tb_task (id, claim_id, type, queue, principal, payload, status, attempt, max_attempts,"
            " lease_until, worker) values (%s, %s, %s, 'default', 'test', %s, 'running', 1, 6,"
            " clock_timestamp() + interval '1 minute', 'test')",
            (token.task_id, token.claim_id, kind, Jsonb(body)),
        )
    return Attempt(pool, token, kind, 1, 6, body)
