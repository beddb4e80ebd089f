-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
update tb_task
set intent_at = clock_timestamp()
where id = %(task_id)s and delivery = %(delivery)s and claim_id = %(claim_id)s and status = (select 'running')
  and (select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false
