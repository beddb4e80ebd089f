-- 取消：先发件箱后任务（全系统同一加锁次序）。正在运行的只留下请求，由持有者在安全点停下。
with dropped as (
    delete from tb_outbox
    where task_id = %(task_id)s
),
target as materialized (
    select id, status
    from tb_task
    where id = %(task_id)s
    for no key update
),
stopped as (
    update tb_task t
    set status = 'cancelled', finished_at = clock_timestamp(), intent_at = null
    from target
    where t.id = target.id and target.status in ('pending', 'queued', 'retrying', 'uncertain')
    returning t.id, t.attempt, t.delivery, 'cancelled' as kind
),
asked as (
    update tb_task t
    set cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
    from target
    where t.id = target.id and target.status = 'running'
    returning t.id, t.attempt, t.delivery, 'cancel_requested' as kind
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, actor)
    select id, kind, attempt, delivery, %(actor)s
    from (select * from stopped union all select * from asked) as changed
)
select status from target
