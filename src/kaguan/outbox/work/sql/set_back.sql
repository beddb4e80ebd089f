-- 没认领到的里面停着的：回发件箱搁到暂停结束，不计尝试；交出了、没有人认领的才动，换新的投递号。
with paused as materialized (
    select t.id, hold.id as pause, hold.until
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as missed (task_id, delivery)
        on t.id = missed.task_id and t.delivery = missed.delivery
    {{unclaimed}}
    cross join lateral (select p.id, p.until from tb_pause p where {{holding}} order by p.until desc limit 1) as hold
    where t.status in ('pending', 'retrying')
      -- 历史没有核对完，别动投递号：核对要看它（docs/adr/0033）
      and {{gate_is_open}}
    for no key update of t skip locked
),
gone as (
    delete from tb_work where task_id = any(array(select id from paused))
),
moved as (
    update tb_task t
    set status = 'pending', delivery = t.delivery + 1, queued_at = null
    from paused
    where t.id = paused.id
    returning t.id, t.attempt, t.delivery, t.type, t.queue, t.principal, paused.pause, paused.until
),
staged as (
    insert into tb_outbox ({{row}}, waiting_for, waiting_since)
    select id, delivery, type, {{rank}}, principal, until, 'pause:' || pause, clock_timestamp()
    from moved
    on conflict (task_id) do update
    {{again}}, {{held}}
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, detail)
    select id, 'interrupted', attempt, delivery, '{"cause": "paused"}' from moved
)
select count(*)::int from moved
