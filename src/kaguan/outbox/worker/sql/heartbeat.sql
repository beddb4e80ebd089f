-- 每个进程每次心跳一条 UPDATE：续租仍归自己的；不在返回里的就是丢了。
-- 别人锁着的跳过，不等：一行等锁不该让别的都断租。它仍归自己（mine 不锁也看得见），收回它的也得先拿到锁。
-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with mine as materialized (
    select t.id, t.delivery, t.claim_id, t.cancel_requested_at is not null as unwanted
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[])
        as h (task_id, delivery, claim_id)
        on t.id = h.task_id and t.delivery = h.delivery and t.claim_id = h.claim_id
    where t.status = (select 'running')
),
held as materialized (
    select t.id
    from tb_task t
    join mine m on m.id = t.id and m.delivery = t.delivery and m.claim_id = t.claim_id
    where t.status = (select 'running')
    for no key update of t skip locked
),
renewed as (
    update tb_task t
    set lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
    from held
    where t.id = held.id
)
select id, delivery, claim_id, unwanted from mine
