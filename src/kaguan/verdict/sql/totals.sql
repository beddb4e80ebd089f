-- 未结算与要人看的：都走部分索引，数到 cap 为止
select
    (select count(*)::int from (select from tb_work where lease_until is null limit %(cap)s) as q) as queued,
    (select count(*)::int from (select from tb_work where lease_until is not null limit %(cap)s) as r) as running,
    (select count(*)::int from (select from tb_task where not_done = 'failed' limit %(cap)s) as f) as failed,
    (select count(*)::int from (select from tb_task where not_done = 'uncertain' limit %(cap)s) as u) as uncertain,
    (
        -- 最老的一些最后的例外，就是它们成为不明的时刻
        select min(e.at)
        from (select id from tb_task where not_done = 'uncertain' order by id limit 100) as u
        cross join lateral (select at from tb_task_event where task_id = u.id order by id desc limit 1) as e
    ) as uncertain_since,
    (select count(*)::int from (select from tb_outbox where parked_at is not null limit %(cap)s) as p) as parked,
    (select min(parked_at) from tb_outbox where parked_at is not null) as parked_since,
    coalesce(gone.count, 0) as vanished, gone.since as vanished_since,
    pg_stat_get_live_tuples('tb_outbox'::regclass) as outbox_rows,
    -- 纪元换过，而在那之前就有任务：Redis 丢过数据
    (
        select lost_at
        from tb_broker
        where id = 1
          and lost_at > clock_timestamp() - make_interval(secs => %(wiped_for)s)
          and lost_at > (select created_at from tb_task order by id limit 1)
    ) as wiped_at,
    (select forwarded_at from tb_broker where id = 1) as last_forward_at,
    clock_timestamp() as now
from (
    select count(*)::int as count, min(first_seen) as since
    from (
        select first_seen
        from tb_vanished
        where first_seen > now() - make_interval(secs => %(vanished_for)s)
        order by first_seen
        limit %(cap)s
    ) as recent
) as gone
