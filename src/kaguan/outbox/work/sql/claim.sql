-- 认领一批：投递号相符的才认领，写下自己的认领号，它与投递号一起是隔离令牌。没有返回行的 = 别人有它，或已做完：安静地算了。
-- 等锁不跳过（relay 交出它的事务也许还没提交），按号排好再锁：并发的批次不会死锁。
-- 弄死过 worker 的嫌疑，一个进程手里只有一个：再死一次就知道是谁。别的同一笔就交还，从没拿过，不会陪它死。
-- 记录只锁不改，写的是手里的活：relay 还没来得及记的就立一行；行是别的投递的，投递号已不作数，换成自己的。
with wanted as materialized (
    select
        t.id, t.delivery, asked.claim_id, asked.handed_at, t.type, t.queue, t.attempt, t.max_attempts, t.payload,
        t.request_id, t.intent_at, t.traceparent, t.ordering_key, t.lost_leases, t.created_at,
        t.last_error ->> 'waiting_for' as waited_for
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[], %(handed_ats)s::float8[])
        as asked (task_id, delivery, claim_id, handed_at)
        on t.id = asked.task_id and t.delivery = asked.delivery
    where t.status in ('pending', 'retrying') and t.attempt < t.max_attempts
      -- 看得见有人在做的，不等他的锁。子查询的值，不写成 exists：总是按号去找
      and (select w.lease_until from tb_work w where w.task_id = t.id and w.delivery = t.delivery) is null
      -- 历史没有核对完的，一个也不认领（docs/adr/0033）
      and {{gate_is_open}}
      -- 停着的不认领：已交出的也到此为止（docs/adr/0039）
      and (select 1 from tb_pause p where {{holding}} limit 1) is null
      -- 交出了才有它的投递：记着，或还没来得及记、发件箱里到期了。Redis 里凭空来的、没轮到的、没到时候的，都不做
      and (
          (select 1 from tb_work w where w.task_id = t.id and w.delivery = t.delivery) is not null
          or (
              select 1 from tb_outbox o
              where o.task_id = t.id and o.delivery = t.delivery and o.parked_at is null
                and o.available_at <= clock_timestamp()
          ) is not null
      )
    order by t.id
    for no key update of t
),
taken as (
    insert into tb_work as w (
        task_id, delivery, priority, claim_id, attempt, worker, queued_at, started_at, lease_until
    )
    select
        id, delivery, {{rank}}, claim_id, attempt + 1,
        %(worker)s,
        -- 投递里写着的：Redis 的话，不早于受理，不晚于此刻
        least(greatest(coalesce(to_timestamp(handed_at), clock_timestamp()), created_at), clock_timestamp()),
        clock_timestamp(),
        case
            when lost_leases < %(suspect)s or (
                %(room)s and id = (select id from wanted where lost_leases >= %(suspect)s order by id limit 1)
                and (
                    select 1
                    from tb_work h
                    join tb_task s on s.id = h.task_id
                    where h.worker = %(worker)s and h.lease_until > '-infinity' and s.lost_leases >= %(suspect)s
                    limit 1
                ) is null
            ) then clock_timestamp() + make_interval(secs => %(lease)s)
            else '-infinity'
        end
    from wanted
    on conflict (task_id) do update
    set delivery = excluded.delivery, claim_id = excluded.claim_id, attempt = excluded.attempt,
        worker = excluded.worker, started_at = excluded.started_at, lease_until = excluded.lease_until
    where w.lease_until is null or w.delivery <> excluded.delivery
    returning w.task_id, w.attempt, w.queued_at, w.lease_until = '-infinity' as returned
)
select
    wanted.id, wanted.delivery, wanted.claim_id, wanted.type, wanted.queue, taken.attempt::int as attempt,
    wanted.max_attempts, wanted.payload, wanted.request_id, wanted.intent_at is not null as intended,
    wanted.traceparent, wanted.ordering_key is not null as ordered, taken.returned,
    extract(epoch from clock_timestamp() - taken.queued_at)::float8 as queued_for, wanted.waited_for
from taken
join wanted on wanted.id = taken.task_id
