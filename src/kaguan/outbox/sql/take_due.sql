-- 内联执行（测试用）：代替 relay 与队列，直接取走待交付的行
delete from tb_outbox
where task_id in (
    select task_id
    from tb_outbox
    where parked_at is null and (%(skip_waits)s or available_at <= clock_timestamp())
    order by priority, available_at, task_id
    limit %(limit)s
    for update skip locked
)
returning task_id, delivery, type
