-- 人要决定的这一个：锁住，等别人放手
select
    coalesce(
        (
            select case when w.lease_until is null then 'queued' else 'running' end
            from tb_work w
            where w.task_id = t.id and w.delivery = t.delivery
        ),
        t.status
    ),
    t.delivery
from tb_task t
where t.id = %(task_id)s
for no key update of t
