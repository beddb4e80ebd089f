-- 已交给队列的：删去发件箱的行（都由这个事务锁着），任务记在手里的活上。
-- worker 可能已抢先认领：那一行它已立好，或任务正被它锁着，跳过即可，也因此不会死锁。
with still_waiting as materialized (
    select t.id, t.delivery, t.queue, h.job
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(jobs)s::text[]) as h (task_id, delivery, job)
        on t.id = h.task_id and t.delivery = h.delivery
    where t.status in ('pending', 'retrying')
      -- 子查询的值，不写成 exists：总是按号去找
      and (select 1 from tb_work w where w.task_id = t.id and w.delivery = t.delivery) is null
    for no key update of t skip locked
),
taken_off as (
    delete from tb_outbox where task_id = any(%(task_ids)s::uuid[])
),
-- 控制台要看的「最近一次交出」：至多每秒写一次，正被别的 relay 写着就算了
noted as (
    update tb_broker
    set forwarded_at = clock_timestamp()
    where id = (
        select id
        from tb_broker
        where forwarded_at is null or forwarded_at < clock_timestamp() - interval '1 second'
        for no key update skip locked
    )
)
insert into tb_work as w (task_id, delivery, priority, queued_at, job)
select
    id, delivery, {{rank}}, clock_timestamp(), job
from still_waiting
on conflict (task_id) do update
set delivery = excluded.delivery, queued_at = excluded.queued_at, job = excluded.job, claim_id = null, attempt = null,
    worker = null, started_at = null, lease_until = null
where w.delivery <> excluded.delivery
