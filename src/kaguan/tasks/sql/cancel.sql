-- 取消：先任务后发件箱（全系统同一加锁次序；relay 拿着发件箱行时对任务行只试不等）。
-- 正在运行的只留下请求，由持有者在安全点停下。
with target as materialized (
    select id, status
    from tb_task
    where id = %(task_id)s
    for no key update
),
dropped as (
    delete from tb_outbox o
    using target
    where o.task_id = target.id
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
