-- 保留期：结束很久的任务，一次一小批；领域的附属行由同一事务里的后续语句按这里给出的号删。
-- 接着上一批（since）往后看：删去的还在索引里，快照开着就清不掉
with old as materialized (
    select id
    from tb_task
    where finished_at >= %(since)s and finished_at < clock_timestamp() - make_interval(days => %(days)s)
    order by finished_at
    limit %(limit)s
    for update skip locked
),
events as (
    delete from tb_task_event e
    using old
    where e.task_id = old.id
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
    returning t.id, t.finished_at
)
select id, finished_at from gone
