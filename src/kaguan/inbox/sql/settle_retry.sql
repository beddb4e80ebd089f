-- 先发件箱后任务：与 relay 的加锁次序相同。令牌失效则两处都不写（由调用者回滚）。
-- kind = interrupted：有进展的任务让位，不计尝试，也不是错误。
with staged as (
    insert into tb_outbox (task_id, delivery, type, priority, available_at, traceparent)
    select
        id, delivery + 1, type, case queue when 'critical' then 0 when 'default' then 1 else 2 end,
        clock_timestamp() + make_interval(secs => %(delay)s), traceparent
    from tb_task
    where id = %(task_id)s and delivery = %(delivery)s and attempt = %(attempt)s and status = 'running'
    on conflict (task_id) do update
    set delivery = excluded.delivery, available_at = excluded.available_at, parked_at = null, parked_reason = null
    returning task_id, available_at
),
settled as (
    update tb_task t
    set status = 'retrying', delivery = t.delivery + 1, available_at = staged.available_at,
        attempt = t.attempt - case when %(kind)s = 'interrupted' then 1 else 0 end,
        last_error = case when %(kind)s = 'interrupted' then t.last_error else %(error)s end,
        queued_at = null, lease_until = null, worker = null,
        intent_at = case when %(kind)s = 'resend' then t.intent_at end
    from staged
    where t.id = staged.task_id and t.delivery = %(delivery)s and t.attempt = %(attempt)s and t.status = 'running'
    returning t.id, t.created_at
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail, traceparent)
    select id, %(kind)s, %(attempt)s, %(delivery)s, %(worker)s, %(error)s, %(traceparent)s
    from settled
)
select extract(epoch from clock_timestamp() - created_at)::float8 from settled
