-- 已交给队列的行：删去，任务记为 queued。
-- worker 可能已抢先认领（状态不再是 pending/retrying）：那一行正被它锁着或已改过，跳过即可，也因此不会死锁。
with gone as (
    delete from tb_outbox o
    using unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(jobs)s::text[]) as h (task_id, delivery, job)
    where o.task_id = h.task_id and o.delivery = h.delivery
    returning o.task_id, o.delivery, h.job
),
still_waiting as materialized (
    select t.id, g.job
    from tb_task t
    join gone g on t.id = g.task_id and t.delivery = g.delivery
    where t.status in ('pending', 'retrying')
    for no key update of t skip locked
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
update tb_task t
set status = 'queued', queued_at = clock_timestamp(), job = still_waiting.job
from still_waiting
where t.id = still_waiting.id
