-- 锁住一个到期的计划；没有行 = 没到期、已停用，或别的 relay 正在办（已办）
select next_due_at, clock_timestamp() as now
from tb_schedule
where name = %(name)s and definition = %(definition)s and enabled and next_due_at <= clock_timestamp()
for update skip locked
