-- 保留期：一次一小批
with old as materialized (
    select task_id
    from tb_vanished
    where first_seen < now() - make_interval(days => %(days)s)
    order by first_seen
    limit %(limit)s
    for update skip locked
)
delete from tb_vanished v
using old
where v.task_id = old.task_id
