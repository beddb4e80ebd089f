-- 兜底：在等待、却没有发件箱行、也不在谁手里的任务（认领的提交失败等极少见的交错）。先锁住：刚被认领的由 orphans 看得见
with page as materialized (
    select id, delivery, status
    from tb_task
    where id > %(after)s
    order by id
    limit %(limit)s
),
orphaned as materialized (
    select t.id
    from tb_task t
    join page p on p.id = t.id and p.delivery = t.delivery and p.status in ('pending', 'retrying')
    where t.status in ('pending', 'retrying')
      and t.available_at < clock_timestamp() - make_interval(secs => %(age)s)
      and not exists (select from tb_outbox o where o.task_id = t.id)
      -- 子查询的值，不写成 exists：总是按号去找
      and (select 1 from tb_work w where w.task_id = t.id and w.delivery = t.delivery) is null
      and {{gate_is_open}}
      -- 同键的前一个还在，轮不到它：不是漏了
      and not exists (
          select from tb_ordering k
          where k.principal = t.principal and k.key = t.ordering_key and k.head <> t.id
      )
    for no key update of t skip locked
)
select
    -- 这一页没满就是看到头了：下次从头来
    case when (select count(*) from page) = %(limit)s then (select max(id::text)::uuid from page) end as last_id,
    (select coalesce(array_agg(id), '{}') from orphaned) as ids
