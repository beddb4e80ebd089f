-- 这就去要运营商改：与意向同一事务。上一次的单不作数了
update tb_sim_receipt
set called_at = clock_timestamp(), reference = %(reference)s, answered_at = null, order_number = null
where task_id = %(task_id)s
