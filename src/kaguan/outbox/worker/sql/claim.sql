-- 认领一批：投递号相符的才认领，写下自己的认领号，它与投递号一起是隔离令牌。没有返回行的 = 别人有它，或已做完：安静地算了。
-- 等锁不跳过（relay 交出它的事务也许还没提交），按号排好再锁：并发的批次不会死锁。
with wanted as materialized (
    select t.id, w.claim_id, w.handed_at
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[], %(claim_ids)s::uuid[], %(handed_ats)s::float8[])
        as w (task_id, delivery, claim_id, handed_at)
        on t.id = w.task_id and t.delivery = w.delivery
    where t.status in ('pending', 'queued', 'retrying') and t.attempt < t.max_attempts
      -- 历史没有核对完的，一个也不认领（docs/adr/0033）
      and (select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false
      -- 有序的，轮到它才行：队头，或有人放它出来的（交出了，还有发件箱行）。历史断了，Redis 里还有没轮到的投递
      and (
          t.ordering_key is null or t.status = 'queued'
          -- 子查询的值，不写成 exists：总是按号去找
          or (select 1 from tb_outbox o where o.task_id = t.id) is not null
          or (select k.head from tb_ordering k where k.principal = t.principal and k.key = t.ordering_key) = t.id
      )
    order by t.id
    for no key update of t
)
update tb_task t
set status = 'running', claim_id = wanted.claim_id, attempt = t.attempt + 1, worker = %(worker)s, started_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s), attempt_traceparent = null,
    queued_at = coalesce(t.queued_at, to_timestamp(wanted.handed_at)) -- relay 也许还没来得及记
from wanted
where t.id = wanted.id
returning
    t.id, t.delivery, t.claim_id, t.type, t.queue, t.attempt, t.max_attempts, t.payload, t.request_id,
    t.intent_at is not null as intended, t.traceparent,
    t.ordering_key is not null as ordered,
    extract(epoch from clock_timestamp() - coalesce(t.queued_at, clock_timestamp()))::float8 as queued_for
