-- 搁置的行与为什么：原因是数据的在任务上；行上只有中文的说法
select
    o.task_id, o.type, o.priority, o.parked_at,
    case
        when t.last_error ->> 'reason' = o.parked_reason then t.last_error
        else jsonb_build_object('reason', o.parked_reason)
    end as error
from (
    select task_id, type, priority, parked_at, parked_reason
    from tb_outbox
    where parked_at is not null
    order by parked_at desc
    limit %(limit)s
) as o
left join tb_task t on t.id = any(array[o.task_id])  -- 按号去找，别拿整张表来合并
order by o.parked_at desc
