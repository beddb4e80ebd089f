-- 保留期：结束很久的任务连同它的附属行，一次一小批
with old as materialized (
    select id
    from tb_task
    where finished_at < clock_timestamp() - make_interval(days => %(days)s)
    order by finished_at
    limit %(limit)s
    for update skip locked
),
events as (
    delete from tb_task_event e
    using old
    where e.task_id = old.id
),
mails as (
    delete from tb_email_delivery d
    using old
    where d.task_id = old.id
),
checkpoints as (
    delete from tb_sync_checkpoint c
    using old
    where c.task_id = old.id
),
parked as (
    delete from tb_outbox o
    using old
    where o.task_id = old.id
),
gone as (
    delete from tb_task t
    using old
    where t.id = old.id
    returning 1
)
select count(*)::int from gone
