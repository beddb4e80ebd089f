-- 先锁任务、验令牌，再动发件箱：令牌失效则两处都不写。用户已要求取消的不再重试，就此取消；
-- 外部调用下落不明（unknown）的不能说没做过：记 uncertain，意向留着，接手的才知道要查证。
-- kind = interrupted：让位，不计尝试，也不是错误。
-- waiting_for：在等外面的谁恢复。任务上写明等谁、从何时起；一段等待不论空跑几趟，只在头一趟留一笔事件。
with held as materialized (
    select
        t.id, t.type, t.queue, t.principal, t.delivery, t.cancel_requested_at is not null as unwanted,
        w.claim_id, w.attempt, w.started_at,
        clock_timestamp() + make_interval(secs => %(delay)s) as due,
        coalesce(t.last_error ->> 'waiting_for' = %(waiting_for)s, false) as waiting,
        case
            when t.last_error ->> 'waiting_for' = %(waiting_for)s then (t.last_error ->> 'since')::timestamptz
            when %(waiting_for)s::text is not null then clock_timestamp()
        end as since
    from tb_task t
    join tb_work w on w.task_id = t.id
    where t.id = %(task_id)s and t.delivery = %(delivery)s and w.claim_id = %(claim_id)s
      and t.status in ('pending', 'retrying')
      and {{gate_is_open}}
    for no key update of t
),
done as (
    delete from tb_work where task_id = (select id from held)
),
settled as (
    update tb_task t
    set status = case when not held.unwanted then 'retrying' when %(unknown)s then 'uncertain' else 'cancelled' end,
        finished_at = case when held.unwanted and not %(unknown)s then clock_timestamp() end,
        delivery = t.delivery + 1, available_at = held.due, lost_leases = 0,
        attempt = held.attempt - case when %(kind)s = 'interrupted' then 1 else 0 end,
        claim_id = held.claim_id, started_at = held.started_at, attempt_traceparent = null,
        last_error = case
            when held.since is not null
                then %(error)s::jsonb || jsonb_build_object('waiting_for', %(waiting_for)s::text, 'since', held.since)
            when %(kind)s = 'interrupted' then t.last_error
            else %(error)s
        end,
        queued_at = null,
        intent_at = case when %(unknown)s then t.intent_at end
    from held
    where t.id = held.id
    returning t.id, t.type, t.queue, t.status, t.created_at, t.started_at, t.finished_at, held.waiting
),
counted as (
    insert into tb_ended (type, queue, status) select type, queue, status from settled where finished_at is not null
),
staged as (
    insert into tb_outbox (
        {{row}}, waiting_for, waiting_since
    )
    select
        id, delivery + 1, type, {{rank}}, principal, due,
        %(waiting_for)s, since
    from held
    where not unwanted
    on conflict (task_id) do update
    {{again}},
        waiting_for = excluded.waiting_for, waiting_since = excluded.waiting_since
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail, traceparent)
    select id, kind, %(attempt)s, %(delivery)s, %(worker)s, detail, %(traceparent)s
    from (
        select id, %(kind)s as kind, %(error)s::jsonb || jsonb_build_object('started_at', started_at) as detail from settled where not waiting
        union all
        select id, status, '{}' from settled where status in ('cancelled', 'uncertain')
    ) as changed
)
select status, extract(epoch from clock_timestamp() - created_at)::float8 as age from settled
