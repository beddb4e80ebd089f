-- 试着锁住这一个，不等：锁着它，接着的语句才看得见刚被认领的
select 1 from tb_task where id = %(task_id)s for no key update skip locked
