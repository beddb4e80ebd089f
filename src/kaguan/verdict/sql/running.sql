-- 谁手里有几个租约：只走有租约的部分索引，受并发限制；仍封顶。主动交还的租约是 -infinity，不是时刻
select
    worker, (array['critical', 'default', 'low'])[priority + 1] as queue, count(*)::int as held,
    min(started_at) as oldest_started_at, max(started_at) as newest_started_at,
    coalesce(max(nullif(lease_until, '-infinity')), clock_timestamp()) as lease_until,
    count(*) filter (where lease_until < clock_timestamp())::int as expired
from (
    select worker, priority, coalesce(started_at, queued_at) as started_at, lease_until
    from tb_work
    where lease_until is not null
    order by lease_until
    limit %(cap)s
) as r
group by worker, priority
order by worker, queue
