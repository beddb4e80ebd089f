-- 每段时间受理、做完、失败了多少：受理走主键（UUIDv7 的前 48 位是毫秒），结束走 finished_at 的索引；每段数到 cap 为止
select
    b.at,
    (
        select count(*)::int
        from (
            select from tb_task
            where id >= (lpad(to_hex((extract(epoch from b.at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
              and id < (
                  lpad(to_hex((extract(epoch from b.at + make_interval(secs => %(step)s)) * 1000)::bigint), 12, '0')
                  || repeat('0', 20)
              )::uuid
            order by id
            limit %(cap)s
        ) as a
    ) as accepted,
    f.succeeded,
    f.failed
from generate_series(
    date_bin(make_interval(secs => %(step)s), clock_timestamp(), timestamptz 'epoch')
        - make_interval(secs => %(step)s) * %(buckets)s,
    date_bin(make_interval(secs => %(step)s), clock_timestamp(), timestamptz 'epoch')
        - make_interval(secs => %(step)s),
    make_interval(secs => %(step)s)
) as b (at)
cross join lateral (
    select
        count(*) filter (where status = 'succeeded')::int as succeeded,
        count(*) filter (where status = 'failed')::int as failed
    from (
        select status from tb_task
        where finished_at >= b.at and finished_at < b.at + make_interval(secs => %(step)s)
        order by finished_at
        limit %(cap)s
    ) as e
) as f
order by b.at
