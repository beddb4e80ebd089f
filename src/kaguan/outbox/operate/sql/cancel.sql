-- 取消：先任务后发件箱（全系统同一加锁次序；relay 拿着发件箱行时对任务行只试不等）。
-- 正在运行的只留下请求，由持有者在安全点停下。
-- 先前的外部调用下落不明（还留着意向）的不能说没做过：uncertain，等人再定；对 uncertain 的取消就是人的定论。
-- 失败了还拦着同键的，取消就是放行。
-- 哪些状态的可取消（open）、正在运行的要不要请求（ask）、拦着同键的算不算（held_too），由来的人说。
-- 须已锁住任务（lock_decided、lock_many）：认领只写手里的活，这里才看得见
with target as materialized (
    select
        id, status, attempt,
        status = any(%(open)s::text[]) or %(held_too)s and status = 'failed' and ordering_holds
            and exists (select from tb_ordering o where o.head = vw_task.id) as open,
        case when intent_at is not null and status <> 'uncertain' then 'uncertain' else 'cancelled' end as ending
    from vw_task
    where id = any(%(task_ids)s::uuid[])
),
dropped as (
    delete from tb_outbox
    where task_id = any(array(select id from target where open))
),
withdrawn as (
    delete from tb_work
    where task_id = any(array(select id from target where open))
),
stopped as (
    update tb_task t
    set status = target.ending,
        finished_at = case target.ending when 'cancelled' then clock_timestamp() end,
        intent_at = case target.ending when 'uncertain' then t.intent_at end,
        last_error = case target.ending
            when 'uncertain' then %(unknown)s::jsonb
            else t.last_error
        end
    from target
    where t.id = target.id and target.open
    returning t.id, t.attempt, t.delivery, t.status as kind, t.type, t.queue, t.status, t.finished_at
),
counted as (
    insert into tb_ended (type, queue, status, tasks)
    select type, queue, status, count(*) from stopped where finished_at is not null group by type, queue, status
),
asked as (
    update tb_task t
    set cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
    from target
    where t.id = target.id and target.status = 'running' and %(ask)s
    returning t.id, target.attempt, t.delivery, 'cancel_requested' as kind
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, actor, detail)
    select id, kind, attempt, delivery, %(actor)s, %(detail)s::jsonb
    from (select id, attempt, delivery, kind from stopped union all select * from asked) as changed
)
select target.id, target.status, coalesce(stopped.kind, target.status), coalesce(stopped.id, asked.id) is not null
from target
left join stopped on stopped.id = target.id
left join asked on asked.id = target.id
