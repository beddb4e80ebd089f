-- 人说了结局不明的那个究竟怎样：做过了即成功，没做过即失败（可以放心重来）。须已锁住任务（lock_decided）
with resolved as (
    update tb_task
    set status = %(status)s, finished_at = clock_timestamp(), intent_at = null,
        last_error = case %(status)s when 'failed' then %(error)s::jsonb end
    where id = %(task_id)s and status = 'uncertain'
    returning id, type, queue, status, attempt, delivery, finished_at
),
counted as (
    insert into tb_ended (type, queue, status) select type, queue, status from resolved where finished_at is not null
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, actor, detail)
    select id, 'resolved', attempt, delivery, %(actor)s, %(detail)s
    from resolved
)
select count(*) from resolved
