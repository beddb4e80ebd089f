-- 在等的各有几个：按类型，按队列，按提交者（多的在前）。发件箱里每个队列只看最先到期的 cap 行，
-- 另在让了位的最先 cap 行里看等着叫回来的；没到时候的不算在等
with due as (
    select o.type, o.principal, o.priority
    from generate_series(0, 2) as q (priority)
    cross join lateral (
        select type, principal, priority
        from tb_outbox
        where parked_at is null and priority = q.priority and available_at <= now()
        order by available_at, task_id
        limit %(cap)s
    ) as o
),
away as (
    select type, principal, priority, available_at > now() as counts
    from tb_outbox
    where waiting_for is not null and parked_at is null
    order by waiting_for, waiting_since, task_id
    limit %(cap)s
)
select
    l.type, case l.priority when 0 then 'critical' when 1 then 'default' when 2 then 'low' end as queue,
    l.principal as caller, count(*)::int as waiting,
    (
        (select max(n) = %(cap)s from (select count(*) as n from due group by priority) as each)
        or (select count(*) = %(cap)s from away)
    ) is true as is_more
from (table due union all select type, principal, priority from away where counts) as l
group by grouping sets ((l.type), (l.priority), (l.principal))
order by grouping(l.principal) desc, count(*) desc, 1, 2, 3
limit %(limit)s
