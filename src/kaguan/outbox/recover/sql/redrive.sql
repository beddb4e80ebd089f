-- 重投：队列里已不见的任务得到新的投递号，回到发件箱。仍在等 worker 且投递号没变的才动（与认领、完成竞争时让路）。
with lost as materialized (
    select t.id
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as l (task_id, delivery)
        on t.id = l.task_id and t.delivery = l.delivery
    {{unclaimed}}
    where t.status in ('pending', 'retrying')
      -- 历史没有核对完，别动投递号：核对要看它（docs/adr/0033）
      and (%(while_closed)s or {{gate_is_open}})
    for no key update of t skip locked
),
gone as (
    delete from tb_work where task_id = any(array(select id from lost))
),
moved as (
    update tb_task t
    set status = 'pending', delivery = t.delivery + 1, queued_at = null, available_at = clock_timestamp()
    from lost
    where t.id = lost.id
    returning t.id, t.type, t.queue, t.principal, t.attempt, t.delivery, t.available_at
),
staged as (
    insert into tb_outbox ({{row}})
    select
        id, delivery, type, {{rank}},
        principal, available_at
    from moved
    on conflict (task_id) do update
    {{again}}
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, detail)
    select id, 'redriven', attempt, delivery, jsonb_build_object('cause', %(cause)s::text)
    from moved
)
select count(*)::int from moved
