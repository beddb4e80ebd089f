-- 给定的每个计划一行，还没有登记的也在；now 是 PostgreSQL 的钟
select
    n.name, s.definition, coalesce(s.enabled, true) as enabled, s.last_fired_at, s.next_due_at, clock_timestamp() as now
from unnest(%(names)s::text[]) with ordinality as n (name, place)
left join tb_schedule s on s.name = n.name
order by n.place
