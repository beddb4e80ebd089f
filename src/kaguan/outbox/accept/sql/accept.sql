-- 受理：任务与发件箱行一条语句、一次提交。重复的 request_id 不插入，也就不在返回之列。
-- 整批是一个 JSON 数组：在 Python 里编码它，比逐列转义数组便宜得多
with submitted as (
    select *
    from json_to_recordset(%(rows)s::json) as s (
        id uuid, type text, queue text, priority smallint, principal text, request_id text, fingerprint bytea,
        payload jsonb, schedule_at timestamptz, traceparent text, max_attempts smallint
    )
),
accepted as (
    insert into tb_task (
        id, type, queue, principal, request_id, fingerprint, payload, max_attempts, traceparent, available_at
    )
    select
        id, type, queue, principal, request_id, fingerprint, payload, coalesce(max_attempts, %(max_attempts)s), traceparent,
        greatest(schedule_at, now()) -- 没给的、已过去的都是现在
    from submitted
    order by principal, request_id -- 同样的键总按同一次序插入，并发的批次不会死锁
    on conflict (principal, request_id) where request_id is not null do nothing
    returning id, delivery, type, principal, available_at, traceparent
),
staged as (
    insert into tb_outbox ({{row}})
    select a.id, a.delivery, a.type, s.priority, a.principal, a.available_at, a.traceparent
    from accepted a
    join submitted s using (id)
)
select id from accepted
