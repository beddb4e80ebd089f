-- 已交给队列的任务记为 queued，与删去发件箱的行同一次提交。
-- worker 可能已抢先认领（状态不再是 pending/retrying）：那一行正被它锁着或已改过，跳过即可，也因此不会死锁。
-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with still_waiting as materialized (
    select t.id, h.job
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(jobs)s::text[]) as h (task_id, delivery, job)
        on t.id = h.task_id and t.delivery = h.delivery
    where t.status = any ((select array['pending', 'retrying'])::text[])
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
