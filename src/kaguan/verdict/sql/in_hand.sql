-- 在手里的，一个一行：只走有租约的部分索引，受并发限制；仍封顶
select
    w.task_id, t.type, t.principal as caller, w.worker, w.since, t.progress,
    extract(epoch from clock_timestamp() - w.since)::float8 as seconds
from (
    select task_id, delivery, worker, coalesce(started_at, queued_at) as since
    from tb_work
    where lease_until is not null
    order by lease_until
    limit %(cap)s
) as w
join tb_task t on t.id = any(array[w.task_id]) and t.delivery = w.delivery  -- 按号去找，别拿整张表来合并
order by w.since, w.task_id
