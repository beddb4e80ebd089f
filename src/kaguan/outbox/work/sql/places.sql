-- 在等名额的：各名额几个（封顶）、最久的等了几秒；都只走部分索引
select
    asked.place,
    (
        select count(*)::int
        from (
            select from tb_outbox where waiting_for = asked.place and parked_at is null limit %(cap)s
        ) as w
    ) as waiting,
    (
        select extract(epoch from clock_timestamp() - waiting_since)::float8
        from tb_outbox
        where waiting_for = asked.place and parked_at is null
        order by waiting_since, task_id
        limit 1
    ) as oldest
from unnest(%(places)s::text[]) as asked (place)
