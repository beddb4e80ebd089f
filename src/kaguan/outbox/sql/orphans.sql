-- 兜底：在等待、却没有发件箱行的任务（认领的提交失败等极少见的交错）
-- 状态写成子查询：按号去找，别走那个满是死行的部分索引（docs/adr/0028）
with page as materialized (
    select id, delivery
    from tb_task
    where status in ('pending', 'retrying') and id > %(after)s
    order by id
    limit %(limit)s
),
orphaned as materialized (
    select t.id
    from tb_task t
    join page p on p.id = t.id and p.delivery = t.delivery
    where t.status = any ((select array['pending', 'retrying'])::text[])
      and t.available_at < clock_timestamp() - make_interval(secs => %(age)s)
      and not exists (select from tb_outbox o where o.task_id = t.id)
      and (select incarnation is null or incarnation = pg_postmaster_start_time() from tb_broker where id = 1) is not false
      -- 同键的前一个还在，轮不到它：不是漏了
      and not exists (
          select from tb_ordering k
          where k.principal = t.principal and k.key = t.ordering_key and k.head <> t.id
      )
    for no key update of t skip locked
),
moved as (
    update tb_task t
    set delivery = t.delivery + 1
    from orphaned
    where t.id = orphaned.id
    returning t.id, t.type, t.queue, t.principal, t.attempt, t.delivery, t.traceparent, t.request_id, t.available_at
),
staged as (
    insert into tb_outbox (task_id, delivery, type, priority, principal, available_at, traceparent)
    select
        id, delivery, type, case queue when 'critical' then 0 when 'default' then 1 else 2 end,
        principal, available_at, traceparent
    from moved
    on conflict (task_id) do nothing
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, detail)
    select id, 'redriven', attempt, delivery, '{"cause": "no_outbox_row"}'
    from moved
)
select
    -- 这一页没满就是看到头了：下次从头来
    case when (select count(*) from page) = %(limit)s then (select max(id::text)::uuid from page) end as last_id,
    (select coalesce(array_agg(id order by id), '{}') from moved) as ids,
    (select coalesce(array_agg(traceparent order by id), '{}') from moved) as traceparents,
    (select coalesce(array_agg(request_id order by id), '{}') from moved) as request_ids
