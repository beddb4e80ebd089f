-- 同 in_line，表大得数不完：随机取约 blocks 块里的行，照取了几分之几放大；读多少与表有多大无关
with sampled as (
    select type, principal, priority
    from tb_outbox tablesample system (
        least(100, 100.0 * %(blocks)s * current_setting('block_size')::int / greatest(1, pg_relation_size('tb_outbox')))
    )
    where parked_at is null and (available_at <= now() or waiting_for is not null)
)
select
    type, case priority when 0 then 'critical' when 1 then 'default' when 2 then 'low' end as queue,
    principal as caller,
    (
        count(*) * greatest(1, pg_relation_size('tb_outbox') / (%(blocks)s * current_setting('block_size')::float8))
    )::int as waiting,
    true as is_more
from sampled
group by grouping sets ((type), (priority), (principal))
order by grouping(principal) desc, count(*) desc, 1, 2, 3
limit %(limit)s
