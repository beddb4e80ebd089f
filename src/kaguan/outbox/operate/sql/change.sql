-- 改一个等着的：须已锁住任务与它的键（lock_decided、lock_key），认领与放行因此都停在外面。
-- 交出了的、在发件箱里的换新的投递号，重写一行：正要交出它的 relay 提交了也不作数。
-- 排在同键之后的没有发件箱行，只改记录，轮到时照着放行。停在暂停里的重新到期，还停着就再搁下；等名额的照旧等着叫。
with target as materialized (
    select
        t.id, t.status as recorded, v.status, t.status in ('pending', 'retrying') and v.status <> 'running' as open,
        t.ordering_key is not null and o.task_id is null and v.status <> 'queued'
            and not exists (select from tb_ordering k where k.head = t.id) as behind,
        greatest(
            coalesce(
                %(due)s::timestamptz,
                case when o.waiting_for like 'pause:%%' then t.available_at else o.available_at end,
                t.available_at
            ),
            clock_timestamp()
        ) as due,
        case when %(due)s::timestamptz is null and o.waiting_for not like 'pause:%%' then o.waiting_for end as place,
        o.waiting_since
    from tb_task t
    join vw_task v on v.id = t.id
    left join tb_outbox o on o.task_id = t.id
    where t.id = %(task_id)s
),
gone as (
    delete from tb_work where task_id = (select id from target where open and not behind)
),
changed as (
    update tb_task t
    set queue = coalesce(%(priority)s, t.queue), available_at = target.due,
        delivery = t.delivery + case when target.behind then 0 else 1 end,
        queued_at = case when target.behind then t.queued_at end
    from target
    where t.id = target.id and target.open
    returning t.id, t.delivery, t.type, t.queue, t.principal, t.attempt
),
staged as (
    insert into tb_outbox ({{row}}, waiting_for, waiting_since)
    select
        c.id, c.delivery, c.type, {{rank}}, c.principal, target.due, target.place,
        case when target.place is not null then target.waiting_since end
    from changed c
    join target on target.id = c.id
    where not target.behind
    on conflict (task_id) do update
    {{again}}, priority = excluded.priority, {{held}}
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, actor, detail)
    select id, 'changed', attempt, delivery, %(actor)s, %(detail)s
    from changed
)
select target.status, case when target.open then target.recorded end
from target
