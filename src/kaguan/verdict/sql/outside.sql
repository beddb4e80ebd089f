-- 让出了名额、在等谁的：各几个，最久的等了几秒；只走部分索引，封顶
select
    waiting_for as whom, count(*)::int as count,
    coalesce(extract(epoch from clock_timestamp() - min(waiting_since)), 0)::float8 as oldest
from (
    select waiting_for, waiting_since from tb_outbox where waiting_for is not null and parked_at is null limit %(cap)s
) as w
group by waiting_for
order by waiting_for
