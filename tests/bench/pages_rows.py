"""一千万个做完的、一百万个在等的、十万封死信：由 PostgreSQL 自己编出来，号是 UUIDv7，时刻从三十天前到此刻。"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.bench.asking import filling
from tests.bench.laboratory import Laboratory
from tests.bench.rows import say
from tests.integration.database.plans.large_database import BIG_TABLES, insert

STEP = 500_000  # 一条语句写这么多个任务
SOON = timedelta(minutes=8)  # 装满要这么久：编到那时为止，量的时候才有刚刚结束的
OTHERS = 100_000  # 别的大表每张这么多行
HANDED, IN_HAND, PARKED, AUDITED, VANISHED, CONCERNS = 10_000, 500, 1_000, 500_000, 5_000, 40_000
TABLES = ("tb_task", "tb_outbox", "tb_work", "tb_task_event")

# 第 n 个（共 total 个）的受理时刻：十分之九匀在三十天里，其余都在最后一小时；与那时的号
DONE = """
    select
        n, at,
        (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid as id,
        (n * %(dead)s) / %(total)s <> ((n - 1) * %(dead)s) / %(total)s as dead, random() as luck
    from (
        select
            n,
            %(now)s::timestamptz - case
                when n <= %(total)s * 0.9 then interval '30 days' - n / (%(total)s * 0.9) * interval '719 hours'
                else (%(total)s - n) / (%(total)s * 0.1) * interval '1 hour'
            end as at
        from generate_series(%(first)s::bigint, %(last)s::bigint) as n
    ) as moments
"""
# 在等的：都在最后两小时里受理
WAITING = """
    select
        n, at,
        (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(md5('w' || n), 1, 3)
            || '9' || substr(md5('w' || n), 4, 15))::uuid as id
    from (
        select n, %(now)s::timestamptz - (%(total)s - n) / %(total)s::float8 * interval '2 hours' as at
        from generate_series(%(first)s::bigint, %(last)s::bigint) as n
    ) as moments
"""
TYPE = """
    case
        when n %% 100 < 50 then 'email:send' when n %% 100 < 80 then 'sim:status_sync'
        when n %% 100 < 90 then 'data:sync'
        when n %% 100 < 97 then 'event:publish' when n %% 100 < 99 then 'sim:change' else 'task:notify'
    end
"""
QUEUE = "case when n %% 10 = 0 then 'critical' when n %% 10 < 4 then 'low' else 'default' end"
CALLER = "case when n %% 2 = 0 then 'billing' else 'caller' || n %% 200 end"
PAYLOAD = """
    case
        when n %% 100 < 50 then jsonb_build_object(
            'v', 1, 'to', jsonb_build_array('user' || n || '@example.com'), 'subject', 'usage of card ' || n,
            'body', 'Dear customer, your cards have used 80 percent of this month''s volume. ' || md5(n::text)
        )
        else jsonb_build_object('v', 1, 'iccids', jsonb_build_array('8986' || lpad((n %% 1000000)::text, 16, '0')))
    end
"""
ERROR = """
    jsonb_build_object(
        'reason', 'the other side refused ' || n %% 40 || case when n %% 7 = 0 then ' order ' || n else '' end,
        'code', 'outbox.bench_' || n %% 40, 'parameters', jsonb_build_object('order', n)
    )
"""
TASKS = f"""
insert into tb_task (
    id, type, queue, principal, request_id, payload, status, attempt, max_attempts, delivery, claim_id, last_error,
    result, ordering_key, ordering_seq, created_at, available_at, queued_at, started_at, finished_at
)
select
    id, {TYPE}, {QUEUE}, case when n = 1000 then 'seldom' else {CALLER} end, case when n %% 4 > 0 then 'r' || n end,
    {PAYLOAD},
    case when not dead then 'succeeded' when n %% 10 = 0 then 'uncertain' else 'failed' end,
    tries, 6, tries, gen_random_uuid(), case when dead or n %% 10 = 0 then {ERROR} end,
    case when not dead then '{{"sent": 1}}'::jsonb end,
    case when n %% 10 = 3 then 'key' || n %% 20000 end, case when n %% 10 = 3 then n end, at, at,
    at + luck * interval '200 ms', at + luck * interval '400 ms',
    case when not (dead and n %% 10 = 0) then at + luck * interval '2 s' end
from ({DONE}) as seeds, lateral (select case when dead then 6 when n %% 10 = 0 then 2 else 1 end as tries) as t
"""
EVENTS = f"""
insert into tb_task_event (task_id, at, kind, attempt, delivery, worker, detail)
select id, at + e * interval '1 s', case when dead and n %% 10 = 0 and e = 3 then 'uncertain' else 'attempt_failed' end,
       e, e, 'worker-' || n %% 8, {ERROR}
from ({DONE}) as seeds, generate_series(1, 3) as e
where dead or (n %% 10 = 0 and e = 1)
"""
STAGED = f"""
insert into tb_task (
    id, type, queue, principal, request_id, payload, status, attempt, max_attempts, last_error, ordering_key,
    ordering_seq, created_at, available_at
)
select
    id, {TYPE}, {QUEUE}, {CALLER}, 'w' || n, {PAYLOAD}, case when n %% 20 = 1 then 'retrying' else 'pending' end,
    case when n %% 20 = 1 then 1 else 0 end, 6, case when n %% 20 = 1 then {ERROR} end,
    case when n %% 10 = 0 then 'hot' when n %% 10 = 5 then 'key' || n %% 20000 end,
    case when n %% 5 = 0 then 100000000 + n end, at,
    case when n %% 10 = 2 then %(now)s::timestamptz + n * interval '1 s' else at end
from ({WAITING}) as seeds
"""
# 有序的只有队头在发件箱里；最老的一些已经交出，其中一些在做
AFTER = (
    """
    insert into tb_ordering (principal, key, last_seq, head)
    select principal, ordering_key, max(ordering_seq), (array_agg(id order by ordering_seq))[1]
    from tb_task where status in ('pending', 'retrying') and ordering_key is not null
    group by principal, ordering_key
    """,
    f"""
    insert into tb_work (
        task_id, delivery, priority, queued_at, job, claim_id, attempt, worker, started_at, lease_until
    )
    select id, delivery, case queue when 'critical' then 0 when 'default' then 1 else 2 end, created_at, 'j',
           case when n <= {IN_HAND} then gen_random_uuid() end, case when n <= {IN_HAND} then 1 end,
           case when n <= {IN_HAND} then 'worker-' || n %% 8 end, case when n <= {IN_HAND} then created_at end,
           case when n <= {IN_HAND} then now() + interval '1 day' end
    from (
        select id, delivery, queue, created_at, row_number() over (order by id) as n
        from tb_task
        where status = 'pending' and ordering_key is null and available_at <= %(now)s
        order by id
        limit {HANDED + IN_HAND}
    ) as oldest
    """,
    "analyze tb_task, tb_work, tb_ordering",
    """
    insert into tb_pause (scope, name, reason, actor, until)
    select 'caller', 'caller' || n, 'drill', 'operator', now() + interval '1 day' from generate_series(1, 20) as n
    """,
    f"""
    insert into tb_outbox (
        task_id, delivery, type, priority, principal, available_at, waiting_for, waiting_since, parked_at, parked_reason
    )
    select
        t.id, t.delivery, t.type, case t.queue when 'critical' then 0 when 'default' then 1 else 2 end, t.principal,
        t.available_at, case when p.id is not null then 'pause:' || p.id when t.status = 'retrying' then 'onelink' end,
        case when p.id is not null or t.status = 'retrying' then t.created_at end,
        case when t.n <= {PARKED} then t.created_at end, case when t.n <= {PARKED} then 'drill' end
    from (
        select *, row_number() over (order by id desc) as n
        from tb_task
        where status in ('pending', 'retrying')
          and (ordering_key is null or exists (select from tb_ordering o where o.head = tb_task.id))
          and not exists (select from tb_work w where w.task_id = tb_task.id)
    ) as t
    left join tb_pause p on p.name = t.principal
    """,
    """
    insert into tb_ended (at, type, queue, status, tasks)
    select finished_at, type, queue, status, 1
    from tb_task where finished_at > now() - interval '2 hours' order by finished_at
    """,
    f"""
    insert into tb_audit (at, actor, action, target, detail, outcome)
    select now() - n * interval '5 s', 'operator' || n %% 5, 'task.cancel', 't' || n, '{{}}', 'ok'
    from generate_series({AUDITED}, 1, -1) as n
    """,
    f"""
    insert into tb_concern (code, subject, parameters, since, first_seen, warn_at, ended_at)
    select 'deaf', 's' || n, '{{"count": 1}}', at, at, at, at + interval '1 minute'
    from (select n, now() - n * interval '1 minute' as at from generate_series({CONCERNS}, 1, -1) as n) as seen
    """,
    f"""
    insert into tb_vanished (task_id, type, request_id, delivery, first_seen)
    select gen_random_uuid(), 'email:send', 'v' || n, 1, now() - n * interval '10 s'
    from generate_series(1, {VANISHED}) as n
    """,
)


def fill(laboratory: Laboratory, finished: int, waiting: int, dead: int) -> None:
    """``finished`` 个成功的与 ``dead`` 封死信混在一起，``waiting`` 个在等。"""
    now = datetime.now(UTC) + SOON * min(1.0, finished / 10_000_000)
    with filling(laboratory, TABLES) as connection:
        for statements, count in (((TASKS, EVENTS), finished + dead), ((STAGED,), waiting)):
            for first in range(1, count + 1, STEP):
                last = min(first + STEP - 1, count)
                for statement in statements:
                    connection.execute(
                        statement.encode(), {"first": first, "last": last, "total": count, "dead": dead, "now": now}
                    )
                say(f"写了 {last:,} 个任务")
        for statement in AFTER:
            connection.execute(statement.encode(), {"now": now})
        others = BIG_TABLES - {*TABLES, "tb_vanished"}
        insert(connection, min(OTHERS, finished), others)
