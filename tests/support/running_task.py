"""一行 running 的任务，绕过受理与认领写下：只考处理器的用例用。"""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

from kaguan.database.pool import Pool
from kaguan.outbox.task_type import P
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Fence, Token

RUNNING: LiteralString = """
with accepted as (
    insert into tb_task (id, type, queue, principal, payload, max_attempts)
    values (%(task_id)s, %(kind)s, 'default', 'test', %(payload)s, 6)
    returning id
)
insert into tb_work (task_id, delivery, priority, claim_id, attempt, worker, started_at, lease_until)
select id, 1, 1, %(claim_id)s, 1, 'test', clock_timestamp(), clock_timestamp() + interval '1 day'
from accepted
"""
LOCKED: LiteralString = "select from tb_task t join tb_work w on w.task_id = t.id where t.id = %s for update"
# 收走了，又投递、认领了一次：旧的令牌从此失效。继任者的令牌由它而来，只差投递号
TAKEN_OVER: LiteralString = """
with work as (
    update tb_work set delivery = delivery + 1, attempt = attempt + %(attempts)s where task_id = %(task_id)s
)
update tb_task set delivery = delivery + 1 where id = %(task_id)s
"""


async def running_task(pool: Pool, kind: str, payload: P, token: Token | None = None) -> Attempt[P]:
    """一行 running 的任务，与它的第一次尝试。"""
    token = token or Token(UUID(str(uuid7())), 1, uuid4())
    async with pool.connection() as connection:
        parameters = {
            "task_id": token.task_id,
            "claim_id": token.claim_id,
            "kind": kind,
            "payload": Jsonb(payload.model_dump(mode="json")),
        }
        await connection.execute(RUNNING, parameters)
    return Attempt(Fence(pool, token), kind, 1, 6, payload)


async def taken_over(pool: Pool, task_id: UUID, attempts: int = 0) -> None:
    """有人收走了它，又投递、认领了一次；``attempts`` 是多计了几次尝试。"""
    async with pool.connection() as connection:
        await connection.execute(TAKEN_OVER, {"task_id": task_id, "attempts": attempts})
