-- 内联执行（测试用）：代替 relay 与队列，取走待交付的行，也像它那样记为已交出
with taken as (
    delete from tb_outbox
    where task_id in (
        select task_id
        from tb_outbox
        where parked_at is null and (%(skip_waits)s or available_at <= clock_timestamp())
          and not exists (
              select
              from tb_pause p
              join tb_task t on t.id = tb_outbox.task_id
              where {{holding}} or tb_outbox.waiting_for = 'pause:' || p.id and p.until > clock_timestamp()
          )
        order by priority, available_at, task_id
        limit %(limit)s
        for update skip locked
    )
    returning task_id, delivery, type, priority
),
handed as (
    insert into tb_work (task_id, delivery, priority)
    select taken.task_id, taken.delivery, taken.priority
    from taken
    join tb_task t on t.id = taken.task_id and t.delivery = taken.delivery and t.status in ('pending', 'retrying')
    on conflict (task_id) do nothing
)
select task_id, delivery, type from taken
