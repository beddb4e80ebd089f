-- 发件箱大约有几行：统计里的活行数，不必去数
select pg_stat_get_live_tuples('tb_outbox'::regclass)
