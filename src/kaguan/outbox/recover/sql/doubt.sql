-- 历史断了：PostgreSQL 忘了、外部调用却也许已做了的（给定的任务号与记下的投递号）。
-- 投递号比记下的大，就是那一次怎么结束的它还记得，不用疑。否则：
--   在等的，不论有没有意向：已有的说的是更早的那次，人或策略已决定过再来
--   正在跑的：记下的就是这一次，是持有者自己的，补上意向，由它结算，失联了就不明；更大的是忘了的那段里的继任者
--   失败、不明的：记下的更大，就是忘了的那段里有人让它重来过。取消了的没有人能让它重来，不动
-- 能查证、策略是重发的，带着意向与记号再来；其余的 uncertain，等人。
-- 新的投递号越过记下的：一笔只疑一次，死在半途的从头再来也是
-- 须已锁住这些任务（lock）：认领只写手里的活，这里才看得见
with noted as materialized (
    select task_id, max(delivery) as delivery
    from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as n (task_id, delivery)
    group by task_id
),
doubtful as materialized (
    select
        v.id, v.status as was, n.delivery as noted, v.attempt, v.claim_id,
        case
            when v.status = 'running' and n.delivery = v.delivery then 'running'
            when v.status in ('failed', 'uncertain') or v.cancel_requested_at is not null then 'uncertain'
            when not %(redelivered)s::jsonb ? v.type then 'uncertain'
            when v.status in ('queued', 'running') then 'pending'
            else v.status
        end as verdict
    from vw_task v
    join noted n on n.task_id = v.id
    where v.status not in ('succeeded', 'cancelled')
      and case
          when v.status in ('failed', 'uncertain') then n.delivery > v.delivery
          when v.status = 'running' and v.intent_at is not null then n.delivery > v.delivery
          else n.delivery >= v.delivery
      end
),
taken as (
    delete from tb_work where task_id = any(array(select id from doubtful where verdict <> 'running'))
),
moved as (
    update tb_task t
    set status = case d.verdict when 'running' then t.status else d.verdict end, intent_at = clock_timestamp(),
        finished_at = null, delivery = case d.verdict when 'running' then t.delivery else d.noted + 1 end,
        -- 被打断的不计尝试
        attempt = case
            when d.verdict = 'running' then t.attempt
            else d.attempt - case when d.was = 'running' and d.verdict = 'pending' then 1 else 0 end
        end,
        claim_id = case d.verdict when 'running' then t.claim_id else d.claim_id end,
        queued_at = case d.verdict when 'running' then t.queued_at end,
        last_error = case d.verdict when 'uncertain' then %(lost)s::jsonb else t.last_error - 'waiting_for' - 'since' end
    from doubtful d
    where t.id = d.id
    returning
        t.id, t.type, t.queue, t.principal, t.traceparent, t.request_id, t.available_at,
        t.attempt, t.delivery, d.was, d.verdict
),
taken_off as (
    delete from tb_outbox o
    using moved m
    where o.task_id = m.id and m.verdict = 'uncertain'
),
-- 在等而没有发件箱行的，是同键的前一个还在：轮到它再说
staged as (
    insert into tb_outbox ({{row}})
    select
        m.id, m.delivery, m.type, {{rank}}, m.principal,
        m.available_at
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
