-- 一个任务怎样了：状态、原因、尝试用完没有、查证说过几次没有发生（测试用）
select
    t.status,
    t.last_error,
    t.attempt >= t.max_attempts as is_used_up,
    (
        select count(*)
        from tb_task_event e
        where e.task_id = t.id and e.kind = 'verified' and e.detail ->> 'answer' = 'not_happened'
    ) as not_happened
from vw_task t
where t.id = %(task_id)s
