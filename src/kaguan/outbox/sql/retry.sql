-- 人工重来：失败的、结局不明的任务得到新的投递号与完整的尝试次数
with target as materialized (
    select id, status
    from tb_task
    where id = %(task_id)s
    for no key update
),
revived as (
    update tb_task t
    set status = 'pending', attempt = 0, delivery = t.delivery + 1, lost_leases = 0, finished_at = null,
        queued_at = null, cancel_requested_at = null, available_at = clock_timestamp()
    from target
    where t.id = target.id and target.status in ('failed', 'uncertain')
    returning t.id, t.type, t.queue, t.attempt, t.delivery, t.traceparent, t.available_at
),
staged as (
    insert into tb_outbox (task_id, delivery, type, priority, available_at, traceparent)
    select
        id, delivery, type,
        case queue when 'critical' then 0 when 'default' then 1 else 2 end,
        available_at, traceparent
    from revived
    on conflict (task_id) do update
    set delivery = excluded.delivery, available_at = excluded.available_at, parked_at = null, parked_reason = null
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, actor)
    select id, 'retried', attempt, delivery, %(actor)s
    from revived
)
select status from target
