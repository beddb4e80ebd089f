-- 放行：没有队头（或队头已有结局）的键，让次序号最小的等待者当队头并进发件箱。须已锁住这些键
with next as materialized (
    select o.principal, o.key, t.id, t.delivery, t.type, t.queue, t.available_at
    from unnest(%(principals)s::text[], %(keys)s::text[]) as k (principal, key)
    join tb_ordering o on o.principal = k.principal and o.key = k.key
    cross join lateral (
        select id, delivery, type, queue, available_at
        from tb_task
        where principal = o.principal and ordering_key = o.key and in_line is not null
          -- 人工重来的不占原来的位置：也许已交出、正在执行
          and (select 1 from tb_work w where w.task_id = tb_task.id) is null
        order by in_line
        limit 1
    ) as t
    where not exists (
        select from tb_task where id = o.head and {{stands}}
    )
),
headed as (
    update tb_ordering o
    set head = next.id, updated_at = clock_timestamp()
    from next
    where o.principal = next.principal and o.key = next.key
),
staged as (
    insert into tb_outbox ({{row}})
    select
        id, delivery, type, {{rank}}, principal,
        greatest(available_at, clock_timestamp())
    from next
    on conflict (task_id) do nothing
)
select count(*)::int from next
