-- 在等的多半是谁交的：每个队列最先到期的 cap 行里最多的那一位，一共看了几行
select distinct on (o.priority)
    o.priority, o.principal as caller, count(*)::int as count,
    (sum(count(*)) over (partition by o.priority))::int as looked
from generate_series(0, 2) as q (priority)
cross join lateral (
    select priority, principal
    from tb_outbox
    where parked_at is null and priority = q.priority and available_at <= now()
    order by available_at, task_id
    limit %(cap)s
) as o
group by o.priority, o.principal
order by o.priority, count(*) desc, o.principal
