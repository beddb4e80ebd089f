-- 保留期：结束很久的任务，一次一小批；领域的附属行由同一事务里的后续语句按这里给出的号删。
-- 接着上一批（since）往后看：删去的还在索引里，快照开着就清不掉。
-- 时间用 now()：clock_timestamp() 随行而变，进不了索引条件，一个没过期也要看到底。
-- any(array[…]) 只能一行一行按号去找：写等号，表还空着时计划好的会把整张表拿来合并
with old as materialized (
    select id
    from tb_task
    where finished_at >= %(since)s and finished_at < now() - make_interval(days => %(days)s)
      -- 还拦着键的等人定夺：删了它，后面的就自己走了
      and (status <> 'failed' or ordering_holds is null or (select 1 from tb_ordering o where o.head = tb_task.id) is null)
    order by finished_at
    limit %(limit)s
    for update skip locked
),
events as (
    delete from tb_task_event e
    using old
    where e.task_id = any(array[old.id])
),
parked as (
    delete from tb_outbox o
    using old
    where o.task_id = any(array[old.id])
),
gone as (
    delete from tb_task t
    using old
    where t.id = any(array[old.id])
    returning t.id, t.finished_at
)
select id, finished_at from gone
