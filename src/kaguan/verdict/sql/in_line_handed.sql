-- 同 in_line，已交出、没人认领的：数到 cap 为止，只认最老的 named 个各是谁的，余下的照它们的比例
with handed as (
    select task_id, priority, queued_at
    from tb_work
    where lease_until is null
    order by queued_at, task_id
    limit %(cap)s
),
named as (
    select t.type, t.principal, h.priority
    from (select * from handed order by queued_at, task_id limit %(named)s) as h
    join tb_task t on t.id = h.task_id
)
select
    type, case priority when 0 then 'critical' when 1 then 'default' when 2 then 'low' end as queue,
    principal as caller,
    (count(*) * greatest(1, (select count(*) from handed) / %(named)s::float8))::int as waiting,
    (select count(*) > %(named)s from handed) as is_more
from named
group by grouping sets ((type), (priority), (principal))
order by grouping(principal) desc, count(*) desc, 1, 2, 3
limit %(limit)s
