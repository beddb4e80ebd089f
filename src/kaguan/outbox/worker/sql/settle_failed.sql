-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with settled as (
    update tb_task
    set status = %(status)s, result = %(result)s, last_error = %(error)s, finished_at = clock_timestamp(),
        lease_until = null, worker = null, intent_at = null
    where id = %(task_id)s and delivery = %(delivery)s and claim_id = %(claim_id)s and status = (select 'running')
      and (select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false
    returning id, status, attempt, delivery, created_at
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail, traceparent)
    select id, %(kind)s, attempt, delivery, %(worker)s, %(error)s, %(traceparent)s
    from settled
)
select status, extract(epoch from clock_timestamp() - created_at)::float8 as age from settled
