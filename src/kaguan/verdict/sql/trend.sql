-- 每段时间受理、做完、失败了多少：受理走主键（UUIDv7 的前 48 位是毫秒），结束走 tb_ended；每段数到 cap 为止
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
        coalesce(sum(tasks) filter (where status = 'succeeded'), 0)::int as succeeded,
        coalesce(sum(tasks) filter (where status = 'failed'), 0)::int as failed
    from (
        select status, tasks from tb_ended
        where at >= b.at and at < b.at + make_interval(secs => %(step)s)
        order by at
        limit %(cap)s
    ) as e
) as f
order by b.at
