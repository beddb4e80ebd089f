-- 受理有序的任务：次序号接着键上的往下排。须已锁住这些键；发件箱行由放行来写，一个键一次一个
with submitted as (
    select s.*, row_number() over (partition by principal, ordering_key order by place) as position
    from rows from (
        json_to_recordset(%(rows)s::json) as (
            id uuid, type text, queue text, principal text, request_id text, fingerprint bytea, payload jsonb,
            schedule_at timestamptz, traceparent text, ordering_key text, max_attempts smallint
        )
    ) with ordinality as s (
        id, type, queue, principal, request_id, fingerprint, payload, schedule_at, traceparent, ordering_key,
        max_attempts, place
    )
),
accepted as (
    insert into tb_task (
        id, type, queue, principal, request_id, fingerprint, payload, max_attempts, traceparent, available_at,
        ordering_key, ordering_seq
    )
    select
        s.id, s.type, s.queue, s.principal, s.request_id, s.fingerprint, s.payload,
        coalesce(s.max_attempts, %(max_attempts)s), s.traceparent, greatest(s.schedule_at, now()), s.ordering_key, o.last_seq + s.position
    from submitted s
    join tb_ordering o on o.principal = s.principal and o.key = s.ordering_key
    order by s.principal, s.request_id
    on conflict (principal, request_id) where request_id is not null do nothing
    returning id, principal, ordering_key, ordering_seq
),
advanced as (
    update tb_ordering o
    set last_seq = a.last_seq
    from (
        select principal, ordering_key, max(ordering_seq) as last_seq from accepted group by principal, ordering_key
    ) as a
    where o.principal = a.principal and o.key = a.ordering_key
)
select id from accepted
