-- 除它以外受理了什么（测试用）
select type, count(*) from tb_task where id <> %(task_id)s group by type order by type
