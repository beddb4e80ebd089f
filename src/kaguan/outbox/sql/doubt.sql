-- 历史断了：PostgreSQL 忘了、外部调用却也许已做了的（给定的任务号与记下的投递号）。
-- 投递号比记下的大，就是那一次怎么结束的它还记得，不用疑。否则：
--   在等的，不论有没有意向：已有的说的是更早的那次，人或策略已决定过再来
--   正在跑的：记下的就是这一次，是持有者自己的，补上意向，由它结算，失联了就不明；更大的是忘了的那段里的继任者
--   失败、不明、取消了的：记下的更大，就是忘了的那段里有人让它重来过
-- 能查证、策略是重发的，带着意向与记号再来；其余的 uncertain，等人。
-- 新的投递号越过记下的：一笔只疑一次，死在半途的从头再来也是
with noted as materialized (
    select task_id, max(delivery) as delivery
    from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as n (task_id, delivery)
    group by task_id
),
doubtful as materialized (
    select
        t.id, t.status as was, n.delivery as noted, t.attempt, t.queued_at, t.lease_until, t.worker,
        case
            when t.status = 'running' and n.delivery = t.delivery then 'running'
            when t.status in ('failed', 'uncertain', 'cancelled') or t.cancel_requested_at is not null then 'uncertain'
            when not %(redelivered)s::jsonb ? t.type then 'uncertain'
            when t.status in ('queued', 'running') then 'pending'
            else t.status
        end as verdict
    from tb_task t
    join noted n on n.task_id = t.id
    where t.status <> 'succeeded'
      and case
          when t.status in ('failed', 'uncertain', 'cancelled') then n.delivery > t.delivery
          when t.status = 'running' and t.intent_at is not null then n.delivery > t.delivery
          else n.delivery >= t.delivery
      end
    order by t.id
    for no key update of t
),
moved as (
    update tb_task t
    set status = d.verdict, intent_at = clock_timestamp(), finished_at = null,
        delivery = case d.verdict when 'running' then t.delivery else d.noted + 1 end,
        -- 被打断的不计尝试
        attempt = d.attempt - case when d.was = 'running' and d.verdict = 'pending' then 1 else 0 end,
        -- 等锁的工夫也许刚被认领、结算：约束先看的是快照里的旧版本，所以照锁住的写
        queued_at = case d.verdict when 'running' then d.queued_at end,
        lease_until = case d.verdict when 'running' then d.lease_until end,
        worker = case d.verdict when 'running' then d.worker end,
        last_error = case d.verdict when 'uncertain' then %(lost)s::jsonb else t.last_error - 'waiting_for' - 'since' end
    from doubtful d
    where t.id = d.id
    returning
        t.id, t.type, t.queue, t.principal, t.traceparent, t.request_id, t.available_at, t.attempt, t.delivery, d.was,
        d.verdict
),
taken_off as (
    delete from tb_outbox o
    using moved m
    where o.task_id = m.id and m.verdict = 'uncertain'
),
-- 在等而没有发件箱行的，是同键的前一个还在：轮到它再说
staged as (
    insert into tb_outbox (task_id, delivery, type, priority, principal, available_at, traceparent)
    select
        m.id, m.delivery, m.type, case m.queue when 'critical' then 0 when 'default' then 1 else 2 end, m.principal,
        m.available_at, m.traceparent
    from moved m
    where m.verdict in ('pending', 'retrying')
      and (m.was in ('queued', 'running') or exists (select from tb_outbox o where o.task_id = m.id))
    on conflict (task_id) do update set delivery = excluded.delivery
),
marked as (
    insert into tb_task_event (task_id, kind, attempt, delivery, detail)
    select
        id, case verdict when 'uncertain' then verdict else %(redelivered)s::jsonb ->> type end, attempt, delivery,
        '{"cause": "history_cut"}'
    from moved
    where verdict <> 'running'
)
select id, type, queue, traceparent, request_id, verdict from moved
