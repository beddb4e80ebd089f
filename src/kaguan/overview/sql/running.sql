-- 谁手里有几个租约：只走运行中的部分索引，受并发限制；仍封顶。主动交还的租约是 -infinity，不是时刻
select
    worker, queue, count(*)::int as held, min(coalesce(started_at, created_at)) as oldest_started_at,
    max(coalesce(started_at, created_at)) as newest_started_at,
    coalesce(max(nullif(lease_until, '-infinity')), clock_timestamp()) as lease_until,
    count(*) filter (where lease_until < clock_timestamp())::int as expired
from (
    select worker, queue, started_at, created_at, lease_until
    from tb_task
    where status = 'running'
    order by lease_until
    limit %(cap)s
) as r
group by worker, queue
order by worker, queue
