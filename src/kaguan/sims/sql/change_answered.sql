-- 运营商收下了；单号知道就记，别的时候记过的留着
update tb_sim_receipt
set answered_at = coalesce(answered_at, clock_timestamp()), order_number = coalesce(%(order_number)s, order_number),
    evidence = coalesce(%(evidence)s, evidence)
where task_id = %(task_id)s
