-- 可以折成一批；没有返回行的 = 令牌已失效，两处都不写。先按号排好锁任务、验令牌，再动发件箱，并发的批次不会死锁。
-- 用户已要求取消的不再重试，就此取消；外部调用下落不明（unknown）的不能说没做过：记 uncertain，意向留着，接手的才知道要查证。
-- kind = interrupted：让位，不计尝试，也不是错误。
-- waiting_for：在等外面的谁恢复。任务上写明等谁、从何时起；一段等待不论空跑几趟，只在头一趟留一笔事件。
-- 手里的活总按号去找：别走那些满是死行的索引（docs/adr/0028）
with held as materialized (
    select
        t.id, t.type, t.queue, t.principal, t.delivery, t.cancel_requested_at is not null as unwanted,
        d.claim_id, d.kind, d.error, d.unknown, d.waiting_for, d.traceparent,
        clock_timestamp() + make_interval(secs => d.delay) as due,
        coalesce(t.last_error ->> 'waiting_for' = d.waiting_for, false) as waiting,
        case
            when t.last_error ->> 'waiting_for' = d.waiting_for then (t.last_error ->> 'since')::timestamptz
            when d.waiting_for is not null then clock_timestamp()
        end as since
    from tb_task t
    join unnest(
        %(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[], %(kinds)s::text[], %(errors)s::jsonb[],
        %(delays)s::float8[], %(unknowns)s::boolean[], %(waits)s::text[], %(traceparents)s::text[]
    ) as d (task_id, delivery, claim_id, kind, error, delay, unknown, waiting_for, traceparent)
        on t.id = d.task_id and t.delivery = d.delivery
    where t.status in ('pending', 'retrying')
      and {{gate_is_open}}
    order by t.id
    for no key update of t
),
done as (
    delete from tb_work w
    using held
    where w.task_id = any(array(select id from held)) and w.task_id = held.id and w.claim_id = held.claim_id
    returning held.*, w.attempt, w.started_at
),
settled as (
    update tb_task t
    set status = case when not done.unwanted then 'retrying' when done.unknown then 'uncertain' else 'cancelled' end,
        finished_at = case when done.unwanted and not done.unknown then clock_timestamp() end,
        delivery = t.delivery + 1, available_at = done.due, lost_leases = 0,
        attempt = done.attempt - case when done.kind = 'interrupted' then 1 else 0 end,
        claim_id = done.claim_id, started_at = done.started_at, attempt_traceparent = null,
        last_error = case
            when done.since is not null
                then done.error || jsonb_build_object('waiting_for', done.waiting_for, 'since', done.since)
            when done.kind = 'interrupted' then t.last_error
            else done.error
        end,
        queued_at = null,
        intent_at = case when done.unknown then t.intent_at end
    from done
    where t.id = done.id
    returning t.id, t.status, t.created_at, t.finished_at
),
counted as (
    insert into tb_ended (type, queue, status, tasks)
    select type, queue, s.status, count(*) from settled s join done using (id)
    where s.finished_at is not null
    group by type, queue, s.status
),
staged as (
    insert into tb_outbox (
        {{row}}, waiting_for, waiting_since
    )
    select
        id, delivery + 1, type, {{rank}}, principal, due,
        waiting_for, since
    from done
    where not unwanted
    on conflict (task_id) do update
    {{again}},
        waiting_for = excluded.waiting_for, waiting_since = excluded.waiting_since
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail, traceparent)
    select id, n.kind, done.attempt, done.delivery, %(worker)s, n.detail, done.traceparent
    from done
    join settled using (id)
    cross join lateral (
        select done.kind, done.error || jsonb_build_object('started_at', done.started_at) where not done.waiting
        union all
        select settled.status, '{}' where settled.status in ('cancelled', 'uncertain')
    ) as n (kind, detail)
)
select id, done.delivery, done.claim_id, status, extract(epoch from clock_timestamp() - created_at)::float8 as age
from settled
join done using (id)
