-- 受理：任务与发件箱行一条语句、一次提交。重复的 request_id 不插入，也就不在返回之列。
with submitted as (
    select *
    from unnest(
        %(ids)s::uuid[], %(types)s::text[], %(queues)s::text[], %(priorities)s::smallint[], %(principals)s::text[],
        %(request_ids)s::text[], %(fingerprints)s::bytea[], %(payloads)s::text[], %(schedules)s::timestamptz[],
        %(traceparents)s::text[]
    ) as s (id, type, queue, priority, principal, request_id, fingerprint, payload, schedule_at, traceparent)
),
accepted as (
    insert into tb_task (
        id, type, queue, principal, request_id, fingerprint, payload, max_attempts, traceparent, available_at
    )
    select
        id, type, queue, principal, request_id, fingerprint, payload::jsonb, %(max_attempts)s, traceparent,
        coalesce(schedule_at, now())
    from submitted
    order by principal, request_id -- 同样的键总按同一次序插入，并发的批次不会死锁
    on conflict (principal, request_id) where request_id is not null do nothing
    returning id, delivery, type, queue, available_at, traceparent
),
staged as (
    insert into tb_outbox (task_id, delivery, type, priority, available_at, traceparent)
    select a.id, a.delivery, a.type, s.priority, a.available_at, a.traceparent
    from accepted a
    join submitted s using (id)
)
select id from accepted
