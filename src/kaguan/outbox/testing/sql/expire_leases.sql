-- 在手里的，租约都到期（测试用）。被锁着的这次不动：停着的进程锁着它，等就等不到了
update tb_work
set lease_until = clock_timestamp() - interval '1 hour'
where task_id in (
    select task_id
    from tb_work
    where lease_until > '-infinity' and (%(worker)s::text is null or worker = %(worker)s)
    for no key update skip locked
)
