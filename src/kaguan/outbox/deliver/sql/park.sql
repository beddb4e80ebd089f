-- 毒丸：搁置并记下原因，任务判为失败（先前的外部调用下落不明的：不明，不能说没做）；其余的行照常走。须已试着锁过任务（lock_waiting）：relay 拿着发件箱行，对任务行只试不等。
with target as materialized (
    select id
    from tb_task
    where id = %(task_id)s and status in ('pending', 'retrying')
      and not exists (select from tb_work w where w.task_id = tb_task.id)
    for no key update skip locked
),
parked as (
    update tb_outbox o
    set parked_at = clock_timestamp(), parked_reason = %(reason)s
    from target
    where o.task_id = target.id
),
ended as (
    update tb_task t
    set status = case when t.intent_at is null then 'failed' else 'uncertain' end,
        finished_at = case when t.intent_at is null then clock_timestamp() end, last_error = %(error)s::jsonb
    from target
    where t.id = target.id
    returning t.id, t.type, t.queue, t.status, t.attempt, t.delivery, t.finished_at
),
counted as (
    insert into tb_ended (type, queue, status) select type, queue, status from ended where finished_at is not null
)
insert into tb_task_event (task_id, kind, attempt, delivery, detail)
select id, case status when 'failed' then 'parked' else status end, attempt, delivery, %(error)s::jsonb
from ended
