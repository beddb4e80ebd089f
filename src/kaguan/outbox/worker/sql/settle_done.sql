-- 成功的结算，可以折成一批；没有返回行的 = 令牌已失效。按号排好再锁，与心跳不会死锁。
-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with held as materialized (
    select t.id, d.result, d.progress, d.traceparent
    from tb_task t
    join unnest(
        %(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[], %(results)s::jsonb[],
        %(progresses)s::jsonb[], %(traceparents)s::text[]
    ) as d (task_id, delivery, claim_id, result, progress, traceparent)
        on t.id = d.task_id and t.delivery = d.delivery and t.claim_id = d.claim_id
    where t.status = (select 'running')
      and (select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false
    order by t.id
    for no key update of t
)
update tb_task t
set status = 'succeeded', result = held.result, progress = coalesce(held.progress, t.progress),
    finished_at = clock_timestamp(), lease_until = null, worker = null, intent_at = null,
    attempt_traceparent = held.traceparent
from held
where t.id = held.id
returning t.id, t.delivery, t.claim_id, t.status, extract(epoch from clock_timestamp() - t.created_at)::float8 as age
