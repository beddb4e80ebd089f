-- 交还仍未做完的：租约作废，由 relay 立刻按同一套规则定夺。别人锁着的这次不等（locked），不连累别的
-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with mine as materialized (
    select t.id, t.delivery, t.claim_id
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
returned as (
    update tb_task t
    set lease_until = '-infinity'
    from held
    where t.id = held.id
)
select id, delivery, claim_id, id not in (select id from held) as locked from mine
