-- 保留期：结束很久的任务，一次一小批；领域的附属行由同一事务里的后续语句按这里给出的号删。
-- 沿号（UUIDv7，按受理的先后）从 since 往后看一页，看到受理不久的为止；还没有结局的、结束不久的走过去，下一圈再说
with page as materialized (
    select id, created_at
    from tb_task
    where id > %(since)s
    order by id
    limit %(limit)s
),
old as materialized (
    select id
    from tb_task
    where id = any(array(select id from page))
      and finished_at < now() - make_interval(days => %(days)s)
      -- 还拦着键的等人定夺：删了它，后面的就自己走了
      and (status <> 'failed' or ordering_holds is null or (select 1 from tb_ordering o where o.head = tb_task.id) is null)
    order by id
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
    returning t.id
)
select
    -- 没有下一页了就是看到头了：下次从头来
    (
        select id
        from (select id, created_at, row_number() over (order by id) as n from page) as p
        where n = %(limit)s and created_at < now() - make_interval(days => %(days)s)
    ) as last_id,
    (select coalesce(array_agg(id), '{}') from gone) as ids
