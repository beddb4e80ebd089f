with held as materialized (
    select t.id, w.claim_id, w.attempt, w.queued_at, w.started_at
    from tb_task t
    join tb_work w on w.task_id = t.id
    where t.id = %(task_id)s and t.delivery = %(delivery)s and w.claim_id = %(claim_id)s
      and t.status in ('pending', 'retrying')
      and {{gate_is_open}}
    for no key update of t
),
done as (
    delete from tb_work where task_id = (select id from held)
),
settled as (
    update tb_task t
    set status = 'uncertain', last_error = %(error)s, claim_id = held.claim_id, attempt = held.attempt,
        queued_at = held.queued_at, started_at = held.started_at
    from held
    where t.id = held.id
    returning t.id, t.status, t.attempt, t.delivery, t.created_at, t.started_at
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail, traceparent)
    select id, 'uncertain', attempt, delivery, %(worker)s, %(error)s::jsonb || jsonb_build_object('started_at', started_at),
        %(traceparent)s
    from settled
)
select status, extract(epoch from clock_timestamp() - created_at)::float8 as age from settled
