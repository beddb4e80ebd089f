-- 历史断了：PostgreSQL 忘了意向、外部调用却也许已做了的（给定的任务号与记下的投递号）。
-- 投递号比记下的大，就是那一次怎么结束的它还记得；已有意向、已有结局的也不用疑。
--   能查证、策略是重发的：补上意向，下一次认领就知道；正在跑的也补上，持有者还在就由它结算，失联了就不明
--   其余的：uncertain，等人
with doubtful as materialized (
    select
        t.id, t.status,
        case when t.status = 'running' or %(redelivered)s::jsonb ? t.type then t.status else 'uncertain' end as verdict
    from tb_task t
    join unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as n (task_id, delivery)
        on t.id = n.task_id and n.delivery >= t.delivery
    where t.status = any ((select array['pending', 'queued', 'retrying', 'running'])::text[]) and t.intent_at is null
    order by t.id
    for no key update of t
),
moved as (
    update tb_task t
    set status = d.verdict, intent_at = clock_timestamp(),
        delivery = t.delivery + case when d.verdict = 'uncertain' then 1 else 0 end,
        queued_at = case when d.verdict <> 'uncertain' then t.queued_at end,
        last_error = case when d.verdict = 'uncertain' then %(lost)s::jsonb else t.last_error end
    from doubtful d
    where t.id = d.id
    returning t.id, t.type, t.queue, t.traceparent, t.request_id, t.attempt, t.delivery, t.status as verdict
),
taken_off as (
    delete from tb_outbox o
    using moved m
    where o.task_id = m.id and m.verdict = 'uncertain'
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, detail)
    select
        id, case when verdict = 'uncertain' then verdict else %(redelivered)s::jsonb ->> type end, attempt, delivery,
        '{"cause": "history_cut"}'
    from moved
    where verdict <> 'running'
)
select id, type, queue, traceparent, request_id, verdict from moved
