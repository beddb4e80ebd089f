"""造积压：与受理写下的一样的行，由 PostgreSQL 自己成批生成；也数还有多少没做完。"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from kaguan.database.pool import Connection

UNSETTLED = "select count(*) from tb_task where status in ('pending', 'retrying')"
FILL = b"""
with task as (
    insert into tb_task (
        id, type, queue, principal, request_id, payload, max_attempts, traceparent, created_at,
        available_at
    )
    select
        uuidv7(), %(type)s, 'default', %(principal)s,
        gen_random_uuid()::text,
        %(payload)s::jsonb,
        6, '00-' || md5(n::text) || '-' || substr(md5(n::text), 1, 16) || '-00', clock_timestamp(), clock_timestamp()
    from generate_series(1, %(rows)s) as n
    returning id, delivery, type, queue, principal, available_at
)
insert into tb_outbox (task_id, delivery, type, priority, principal, available_at)
select
    id, delivery, type, case queue when 'critical' then 0 when 'default' then 1 else 2 end, principal, available_at
from task
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """备下的是什么。"""

    type: str
    payload: str


MAIL = Waiting(
    "email:send", '{"v": 1, "to": ["customer@example.com"], "subject": "usage", "body": "your cards used 80 percent"}'
)


async def fill(connection: Connection, rows: int, principal: str = "bench", waiting: Waiting = MAIL) -> None:
    """受理 ``rows`` 个任务，都是 ``principal`` 提交的。"""
    await connection.execute(FILL, {"rows": rows, "principal": principal, **asdict(waiting)})
