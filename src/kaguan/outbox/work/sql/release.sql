-- 交还仍未做完的：租约作废，由 relay 立刻按同一套规则定夺。别人锁着的这次不等（locked），不连累别的
with mine as materialized (
    select w.task_id, w.delivery, w.claim_id
    from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[])
        as h (task_id, delivery, claim_id)
    cross join lateral (
        select *
        from tb_work w
        where w.task_id = h.task_id and w.delivery = h.delivery and w.claim_id = h.claim_id
        limit 1
    ) as w
),
held as materialized (
    select task_id
    from tb_work
    where task_id = any(array(select task_id from mine)) and claim_id = any(array(select claim_id from mine))
    for no key update skip locked
),
returned as (
    update tb_work
    set lease_until = '-infinity'
    where task_id = any(array(select task_id from held))
)
select task_id, delivery, claim_id, task_id not in (select task_id from held) as locked from mine
