-- 成功的结算，可以折成一批；没有返回行的 = 令牌已失效。按号排好再锁，并发的批次不会死锁。
-- 手里的活总按号去找：别走那些满是死行的索引（docs/adr/0028）
with held as materialized (
    select t.id, d.claim_id, d.result, d.progress, d.traceparent
    from tb_task t
    join unnest(
        %(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[], %(results)s::jsonb[],
        %(progresses)s::jsonb[], %(traceparents)s::text[]
    ) as d (task_id, delivery, claim_id, result, progress, traceparent)
        on t.id = d.task_id and t.delivery = d.delivery
    where t.status in ('pending', 'retrying')
      and {{gate_is_open}}
    order by t.id
    for no key update of t
),
done as (
    delete from tb_work w
    using held
    where w.task_id = any(array(select id from held)) and w.task_id = held.id and w.claim_id = held.claim_id
    returning
        w.task_id, w.claim_id, w.attempt, w.queued_at, w.started_at, held.result, held.progress, held.traceparent
),
ended as (
    update tb_task t
    set status = 'succeeded', result = done.result, progress = coalesce(done.progress, t.progress),
        finished_at = clock_timestamp(), intent_at = null, attempt_traceparent = done.traceparent,
        claim_id = done.claim_id, attempt = done.attempt, queued_at = done.queued_at, started_at = done.started_at
    from done
    where t.id = done.task_id
    returning t.id, t.delivery, t.claim_id, t.type, t.queue, t.status, t.created_at
),
counted as (
    insert into tb_ended (type, queue, status, tasks)
    select type, queue, status, count(*) from ended group by type, queue, status
)
select id, delivery, claim_id, status, extract(epoch from clock_timestamp() - created_at)::float8 as age from ended
