-- 按条件重放：每秒至多 rate 个（错开 available_at），一次至多 limit 个；逐个留痕
with chosen as materialized (
    select id
    from tb_task
    where status = %(status)s
      and id >= %(since)s and id < %(until)s
      and (%(type)s::text is null or type = %(type)s)
      and (%(queue)s::text is null or queue = %(queue)s)
      and (%(error)s::text is null or position(%(error)s in last_error->>'reason') > 0)
    order by id
    limit %(limit)s
    for no key update skip locked
),
revived as (
    update tb_task t
    set status = 'pending', attempt = 0, delivery = t.delivery + 1, lost_leases = 0, finished_at = null,
        queued_at = null, cancel_requested_at = null,
        available_at = clock_timestamp() + make_interval(secs => c.position / %(rate)s::float8)
    from (select id, row_number() over (order by id) - 1 as position from chosen) as c
    where t.id = c.id
    returning t.id, t.type, t.queue, t.attempt, t.delivery, t.traceparent, t.available_at
),
staged as (
    insert into tb_outbox (task_id, delivery, type, priority, available_at, traceparent)
    select
        id, delivery, type,
        case queue when 'critical' then 0 when 'default' then 1 else 2 end,
        available_at, traceparent
    from revived
    on conflict (task_id) do update
    set delivery = excluded.delivery, available_at = excluded.available_at, parked_at = null, parked_reason = null
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, actor, detail)
    select id, 'retried', attempt, delivery, %(actor)s, '{"replay": true}'
    from revived
)
select coalesce(array_agg(id order by id), '{}'), max(available_at) from revived
