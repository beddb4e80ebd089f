-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with settled as (
    update tb_task
    set status = 'uncertain', last_error = %(error)s, lease_until = null, worker = null
    where id = %(task_id)s and delivery = %(delivery)s and claim_id = %(claim_id)s and status = (select 'running')
      and (select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false
    returning id, status, attempt, delivery, created_at
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail, traceparent)
    select id, 'uncertain', attempt, delivery, %(worker)s, %(error)s, %(traceparent)s
    from settled
)
select status, extract(epoch from clock_timestamp() - created_at)::float8 as age from settled
