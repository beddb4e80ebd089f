-- 租约到期（或被主动交还：lease_until = -infinity）的运行中任务，一处定夺：
--   死在无法幂等的调用前后：策略是重发、或能查证的就再来（redelivered：任务类型 → 记作什么），
--   否则——毒丸、用户已要求取消也一样——uncertain，因为不能说没寄；
--   连丢租约太多次 → 毒丸，failed；用户已要求取消 → cancelled；否则回到 pending。被中断的尝试不计数。
with expired as materialized (
    select
        t.id, t.worker, t.attempt, t.delivery, t.queued_at, t.started_at, t.stale,
        t.lease_until = '-infinity' as released,
        t.intent_at is not null as intended,
        case
            when t.lease_until <> '-infinity' and t.lost_leases + 1 >= %(max_lost)s
                then case when t.intent_at is null then 'failed' else 'uncertain' end
            when t.cancel_requested_at is not null
                then case when t.intent_at is null then 'cancelled' else 'uncertain' end
            when t.intent_at is null or %(redelivered)s::jsonb ? t.type then 'pending'
            else 'uncertain'
        end as verdict
    from (
        values
            ('-infinity'::timestamptz, '-infinity'::timestamptz, true),
            -- PostgreSQL 刚起来，或停顿过（离上一眼太久，这一条也许就卡在半路）：谁也续不了租，
            -- 先给持有者一个租约的时间续租或结算
            (
                statement_timestamp() - make_interval(secs => %(reach)s), statement_timestamp(),
                pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => %(grace)s)
                and (%(grace)s::float8 = 0 or %(looked)s::timestamptz is null
                     or statement_timestamp() - %(looked)s::timestamptz <= make_interval(secs => %(grace)s))
            )
    ) as lapsed (since, until, decided)
    cross join lateral (
        select t.id, t.type, w.worker, w.attempt, w.delivery, w.queued_at, w.started_at, w.lease_until, t.intent_at, t.lost_leases,
            t.cancel_requested_at,
            -- 任务已另有新的投递、已有结局：这一行不作数，清掉就是
            t.delivery <> w.delivery or t.status not in ('pending', 'retrying') as stale
        from tb_work w
        join tb_task t on t.id = w.task_id
        where w.lease_until between lapsed.since and lapsed.until
          and lapsed.decided
          -- 历史没有核对完：意向也许丢了，先别定夺（docs/adr/0033）
          and {{gate_is_open}}
        order by w.lease_until
        limit %(limit)s
        -- 续租只锁手里的活，结算锁任务：两样都锁住
        for no key update of t, w skip locked
    ) as t
),
-- 极少：relay 交出了、还没提交，任务已被认领又丢了租约。它拿着的发件箱行不等，那一个下次再收，不连累整页
leftover as materialized (
    select o.task_id
    from tb_outbox o
    join expired e on e.id = o.task_id
    for update of o skip locked
),
moved as (
    update tb_task t
    set status = e.verdict,
        attempt = case when e.verdict = 'pending' then greatest(e.attempt - 1, 0) else e.attempt end,
        attempt_traceparent = case when e.verdict = 'pending' then null else t.attempt_traceparent end,
        delivery = t.delivery + 1,
        lost_leases = t.lost_leases + case when e.released then 0 else 1 end,
        queued_at = null,
        started_at = e.started_at,
        -- 头一次丢立刻再来；再丢就有击垮 worker 的嫌疑，一个进程里只做一个（claim.sql）：错开。
        -- 定罪的那一次因此没有别的嫌疑陪着死；因为已有一个而交还的，等那一个做完
        available_at = clock_timestamp() + case
            when e.released and t.lost_leases >= %(suspect)s then random() * interval '20 s'
            when e.released or t.lost_leases = 0 then interval '0'
            else random() * make_interval(secs => least(60, 2 ^ (t.lost_leases + 1)))
        end,
        finished_at = case when e.verdict in ('failed', 'cancelled') then clock_timestamp() end,
        last_error = case
            when e.verdict = 'failed' then %(killer)s::jsonb
            when e.verdict = 'uncertain' then %(lost)s::jsonb
            when e.intended then t.last_error - 'waiting_for' - 'since' -- 已经去做过：先前那段等待过去了
            else t.last_error
        end
    from expired e
    where t.id = e.id and not e.stale
      and (
          e.id in (select task_id from leftover)
          or not exists (select from tb_outbox o where o.task_id = e.id)
      )
    returning t.id, t.type, t.queue, t.principal, t.attempt, t.delivery, t.traceparent, t.request_id, t.available_at,
        e.verdict, e.released, e.intended, e.worker, e.started_at, t.lost_leases, t.status, t.finished_at,
        -- 收回的这一次：列里是收回之后的，新的投递号，不计的尝试
        jsonb_build_object('attempt', e.attempt, 'delivery', e.delivery, 'queued_at', e.queued_at) as run
),
counted as (
    insert into tb_ended (type, queue, status, tasks)
    select type, queue, status, count(*) from moved where finished_at is not null group by type, queue, status
),
taken as (
    delete from tb_work
    where task_id = any(array(select id from expired where stale union all select id from moved))
),
staged as (
    insert into tb_outbox ({{row}}, alone)
    select
        id, delivery, type, {{rank}},
        principal, available_at, not released or lost_leases >= %(suspect)s
    from moved
    where verdict = 'pending'
    on conflict (task_id) do update
    {{again}}, alone = excluded.alone
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, worker, detail)
    select
        id,
        case verdict
            when 'uncertain' then 'uncertain'
            when 'failed' then 'parked'
            when 'cancelled' then 'cancelled'
            else case
                when intended then %(redelivered)s::jsonb ->> type
                when released then 'interrupted'
                else 'redriven'
            end
        end,
        attempt, delivery, worker,
        jsonb_build_object(
            'cause', case when released then 'worker_stopped' else 'lease_expired' end, 'started_at', started_at, 'run', run
        )
    from moved
)
-- 一个也没有收，也有一行：这一眼是何时
select
    moved.id, moved.type, moved.queue, moved.traceparent, moved.request_id, moved.verdict, moved.released,
    moved.started_at, now.looked
from (values (statement_timestamp())) as now (looked)
left join moved on true
