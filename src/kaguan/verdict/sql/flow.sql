-- 最近结束的与失败的尝试，按类型、队列、状态或原因（例外的 detail）；各只看最新的几百个，更早的两边都不算（start），占比才对得上。
-- 末了每种任务一行 lasting：最近最终失败、至今还是的几个，与那一段里做成的。一段从最近一个失败往前 window 秒，
-- 之后做成的也算：没有新的失败，占比只降不升；因此各看两倍远。
-- now() 是这条语句的时刻，计划因此走得了索引（clock_timestamp() 走不了）
with finished as materialized (
    select type, queue, status, at, tasks
    from tb_ended
    where at > now() - make_interval(secs => 2 * %(window)s)
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
    select t.id, t.type, t.queue, e.kind, e.detail - 'started_at' as detail, e.at, t.status, t.finished_at
    from events e
    join tb_task t on t.id = e.task_id
    where e.kind in ('attempt_failed', 'parked', 'resolved')
      and e.at > now() - make_interval(secs => 2 * %(window)s)
),
seen as materialized (
    select greatest(
        '-infinity',
        (select min(at) from finished having count(*) = %(finished_cap)s),
        (select min(at) from events having count(*) = %(event_cap)s)
    ) as at
),
start as materialized (
    select greatest(seen.at, now() - make_interval(secs => %(window)s)) as at from seen
),
flow as (
    select type, queue, status as outcome, '{}'::jsonb as detail, at, tasks from finished
    union all
    select type, queue, 'attempt_failed', detail, at, 1 from setbacks where kind = 'attempt_failed'
),
failed as materialized (
    select distinct id, type, finished_at as at from setbacks where status = 'failed'
),
latest as (
    select type, max(at) as at, greatest(max(at) - make_interval(secs => %(window)s), (select at from seen)) as since
    from failed
    group by type
    having max(at) >= (select at from start)
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
union all
select
    l.type, '', 'lasting',
    jsonb_build_object(
        'failed', (select count(*) from failed where failed.type = l.type and failed.at >= l.since),
        'succeeded', (
            select coalesce(sum(tasks), 0)
            from finished
            where finished.type = l.type and finished.status = 'succeeded' and finished.at >= l.since
        )
    ),
    0, 0, 0, (select min(at) from failed where failed.type = l.type and failed.at >= l.since), l.at, 0
from latest l
