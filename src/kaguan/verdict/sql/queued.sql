-- 已交出而没人认领的，按队列；只看最老的 cap 个
select queue, count(*)::int as queued, extract(epoch from clock_timestamp() - min(queued_at))::float8 as oldest
from (
    select queue, queued_at
    from tb_task
    where status = 'queued'
    order by queued_at, id
    limit %(cap)s
) as q
group by queue
