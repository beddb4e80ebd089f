-- 为一张卡而做的、改过它状态的任务，新的在前；保留期过了的不在
with mine as materialized (
    select task_id
    from (select task_id from tb_sim_task where sim_id = %(sim_id)s order by task_id desc limit %(limit)s) as asked
    union
    select task_id
    from (
        select e.task_id
        from unnest(%(iccids)s::text[]) as one (iccid)
        cross join lateral (
            select id, task_id
            from tb_sim_event
            where (iccid, id) > (one.iccid, 0) and (iccid, id) <= (one.iccid, 9223372036854775807)
            order by iccid desc, id desc
            limit %(limit)s
        ) as e
        order by e.id desc
        limit %(limit)s
    ) as changing
    where task_id is not null
)
select t.id, t.type, t.status, t.created_at, t.finished_at, t.last_error
from mine
cross join lateral (select * from vw_task where id = mine.task_id limit 1) as t
order by t.id desc
limit %(limit)s
