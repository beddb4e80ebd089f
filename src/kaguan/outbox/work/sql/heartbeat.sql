-- 每个进程每次心跳一条 UPDATE：续租仍归自己的；不在返回里的就是丢了。
-- 一个个按号去找，别走满是死行的索引（docs/adr/0028）。
-- 别人锁着的跳过，不等：一行等锁不该让别的都断租。它仍归自己（mine 不锁也看得见），收回它的也得先拿到锁。
with mine as materialized (
    select w.task_id, w.delivery, w.claim_id, t.cancel_requested_at is not null as unwanted
    from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[])
        as h (task_id, delivery, claim_id)
    cross join lateral (
        select *
        from tb_work w
        where w.task_id = h.task_id and w.delivery = h.delivery and w.claim_id = h.claim_id
        limit 1
    ) as w
    join tb_task t on t.id = w.task_id and t.delivery = w.delivery
    where t.finished_at is null
),
held as materialized (
    select task_id
    from tb_work
    where task_id = any(array(select task_id from mine)) and claim_id = any(array(select claim_id from mine))
    for no key update skip locked
),
renewed as (
    update tb_work
    set lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    where task_id = any(array(select task_id from held))
)
select task_id, delivery, claim_id, unwanted from mine
