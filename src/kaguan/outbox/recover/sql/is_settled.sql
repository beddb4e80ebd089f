-- 这一次启动的历史核对过没有；没有记过的算核对过
select (select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false
