-- 概况：每个队列的待交付、最老的到期行、搁置的行。计数封顶，不在大表上数到底。
select
    q.priority,
    (
        select count(*)
        from (
            -- order by 让计划走索引，数到封顶就停；知道封顶比行数还大，规划器宁可全扫一遍再排序
            select from tb_outbox
            where parked_at is null and priority = q.priority
            order by available_at
            limit (select %(up_to)s::bigint)
        ) as w
    ) as waiting,
    (
        select extract(epoch from clock_timestamp() - min(available_at))::float8
        from (
            select available_at from tb_outbox
            where parked_at is null and priority = q.priority and available_at <= now()
            order by available_at
            limit 1
        ) as first_due
    ) as oldest_due_seconds
from generate_series(0, 2) as q (priority)
order by q.priority
