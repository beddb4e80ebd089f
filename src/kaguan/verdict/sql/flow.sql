-- 最近结束的与失败的尝试，按类型、队列、状态或原因（例外的 detail）；各只看最新的几百个，更早的两边都不算（start），占比才对得上。
-- now() 是这条语句的时刻，计划因此走得了索引（clock_timestamp() 走不了）
with finished as materialized (
    select type, queue, status, at, tasks
    from tb_ended
    where at > now() - make_interval(secs => %(window)s)
    order by at desc
    limit %(finished_cap)s
),
events as materialized (
    select id, at, kind, task_id, detail
    from tb_task_event
    order by id desc
    limit %(event_cap)s
),
setbacks as materialized (
    select t.type, t.queue, e.detail - 'started_at' as detail, e.at
    from events e
    join tb_task t on t.id = e.task_id
    where e.kind = 'attempt_failed' and e.at > now() - make_interval(secs => %(window)s)
),
start as materialized (
    select greatest(
        now() - make_interval(secs => %(window)s),
        (select min(at) from finished having count(*) = %(finished_cap)s),
        (select min(at) from events having count(*) = %(event_cap)s)
    ) as at
),
flow as (
    select type, queue, status as outcome, '{}'::jsonb as detail, at, tasks from finished
    union all
    select type, queue, 'attempt_failed', detail, at, 1 from setbacks
)
select
    f.type, f.queue, f.outcome, f.detail,
    sum(f.tasks)::int as total,
    coalesce(sum(f.tasks) filter (where f.at > now() - make_interval(secs => %(minute)s)), 0)::int as minute,
    coalesce(sum(f.tasks) filter (where f.at > now() - make_interval(secs => %(moment)s)), 0)::int as moment,
    min(f.at) as first_at,
    max(f.at) as last_at,
    extract(epoch from now() - max(s.at))::float8 as span
from flow f
cross join start s
where f.at >= s.at
group by f.type, f.queue, f.outcome, f.detail
