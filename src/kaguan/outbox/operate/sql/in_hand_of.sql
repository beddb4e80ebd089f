-- 各 worker 手里有几个，最久的从何时起：只走有租约的部分索引，受并发限制；仍封顶
select worker, count(*)::int as held, min(since) as oldest_started_at
from (
    select worker, coalesce(started_at, queued_at) as since
    from tb_work
    where lease_until is not null
    order by lease_until
    limit %(cap)s
) as w
group by worker
