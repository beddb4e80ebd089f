-- 意向记在记录上：别的都忘了，它还要说得出也许做过。没有返回行的 = 令牌已失效。按号排好再锁，并发的批次不会死锁
with held as materialized (
    select t.id, t.delivery, w.claim_id
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[])
        as asked (task_id, delivery, claim_id)
        on t.id = asked.task_id and t.delivery = asked.delivery
    cross join lateral (
        select *
        from tb_work w
        where w.task_id = asked.task_id and w.delivery = asked.delivery and w.claim_id = asked.claim_id
        limit 1
    ) as w
    where t.status in ('pending', 'retrying')
      -- 历史没有核对完的，记不下（docs/adr/0033）
      and {{gate_is_open}}
    order by t.id
    for no key update of t
)
update tb_task t
set intent_at = clock_timestamp()
from held
where t.id = held.id
returning held.id, held.delivery, held.claim_id
