-- 锁住这些任务，按号：等锁的工夫里写下的（认领只写手里的活），接着的语句才看得见
select id from tb_task where id = any(%(task_ids)s::uuid[]) order by id for no key update
