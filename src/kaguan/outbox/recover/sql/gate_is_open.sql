-- 这一次启动的历史核对过没有；没有记过的算核对过
select {{gate_is_open}}
