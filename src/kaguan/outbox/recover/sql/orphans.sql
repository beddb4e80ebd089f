-- 补上漏了的发件箱行，换一个投递号。须已锁住（orphan_page），还漏着的才补
with moved as (
    update tb_task t
    set delivery = t.delivery + 1
    where t.id = any(%(task_ids)s::uuid[])
      and not exists (select from tb_outbox o where o.task_id = t.id)
      and (select 1 from tb_work w where w.task_id = t.id and w.delivery = t.delivery) is null
    returning t.id, t.type, t.queue, t.principal, t.attempt, t.delivery, t.traceparent, t.request_id, t.available_at
),
staged as (
    insert into tb_outbox ({{row}})
    select
        id, delivery, type, {{rank}},
        principal, available_at
    from moved
    on conflict (task_id) do nothing
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, detail)
    select id, 'redriven', attempt, delivery, '{"cause": "no_outbox_row"}'
    from moved
)
select id, traceparent, request_id from moved order by id
