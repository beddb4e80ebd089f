-- 最近受理的、有了结局的各多少，按类型与队列：各只看最新的 cap 个，更早的两边都不算（start），才比得出来得多还是走得多
with came as materialized (
    select type, queue, created_at as at, 1 as tasks
    from tb_task
    where id >= (
        lpad(to_hex((extract(epoch from now() - make_interval(secs => %(window)s)) * 1000)::bigint), 12, '0')
        || repeat('0', 20)
    )::uuid
    order by id desc
    limit %(cap)s
),
went as materialized (
    select type, queue, at, tasks
    from tb_ended
    where at > now() - make_interval(secs => %(window)s)
    order by at desc
    limit %(cap)s
),
start as materialized (
    select greatest(
        now() - make_interval(secs => %(window)s),
        (select min(at) from came having count(*) = %(cap)s),
        (select min(at) from went having count(*) = %(cap)s)
    ) as at
)
select
    t.type, t.queue, coalesce(sum(t.tasks) filter (where t.arrived), 0)::int as arrived,
    coalesce(sum(t.tasks) filter (where not t.arrived), 0)::int as departed,
    extract(epoch from now() - s.at)::float8 as seconds
from (select *, true as arrived from came union all select *, false from went) as t
join start s on t.at >= s.at
group by t.type, t.queue, s.at
order by t.type, array_position(array['critical', 'default', 'low'], t.queue)
