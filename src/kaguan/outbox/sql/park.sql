-- 毒丸：搁置并记下原因，任务判为失败；其余的行照常走
with parked as (
    update tb_outbox
    set parked_at = clock_timestamp(), parked_reason = %(reason)s
    where task_id = %(task_id)s
    returning task_id
),
failed as (
    update tb_task t
    set status = 'failed', finished_at = clock_timestamp(), intent_at = null,
        last_error = jsonb_build_object('reason', %(reason)s::text)
    from parked
    where t.id = parked.task_id and t.status in ('pending', 'retrying')
    returning t.id, t.attempt, t.delivery
)
insert into tb_task_event (task_id, kind, attempt, delivery, detail)
select id, 'parked', attempt, delivery, jsonb_build_object('reason', %(reason)s::text)
from failed
