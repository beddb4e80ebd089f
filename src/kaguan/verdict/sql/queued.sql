-- 已交出而没人认领的，按队列；只看最老的 cap 个
select
    (array['critical', 'default', 'low'])[priority + 1] as queue, count(*)::int as queued,
    extract(epoch from clock_timestamp() - min(queued_at))::float8 as oldest
from (
    select priority, queued_at
    from tb_work
    where lease_until is null
    order by queued_at, task_id
    limit %(cap)s
) as q
group by priority
