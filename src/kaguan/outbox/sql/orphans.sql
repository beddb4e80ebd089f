-- 兜底：在等待、却没有发件箱行的任务（认领的提交失败等极少见的交错）
with page as materialized (
    select id, delivery, type, queue, available_at, traceparent
    from tb_task
    where status in ('pending', 'retrying') and id > %(after)s
    order by id
    limit %(limit)s
),
orphaned as materialized (
    select t.id
    from tb_task t
    join page p on p.id = t.id and p.delivery = t.delivery
    where t.status in ('pending', 'retrying')
      and t.available_at < clock_timestamp() - make_interval(secs => %(age)s)
      and not exists (select from tb_outbox o where o.task_id = t.id)
    for no key update of t skip locked
),
moved as (
    update tb_task t
    set delivery = t.delivery + 1
    from orphaned
    where t.id = orphaned.id
    returning t.id, t.type, t.queue, t.attempt, t.delivery, t.traceparent, t.available_at
),
staged as (
    insert into tb_outbox (task_id, delivery, type, priority, available_at, traceparent)
    select
        id, delivery, type, case queue when 'critical' then 0 when 'default' then 1 else 2 end,
        available_at, traceparent
    from moved
    on conflict (task_id) do nothing
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, detail)
    select id, 'redriven', attempt, delivery, '{"cause": "no_outbox_row"}'
    from moved
)
select (select id from page order by id desc limit 1) as last_id, (select count(*)::int from moved) as moved
