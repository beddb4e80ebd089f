-- 那一处暂停没有了：停在它那里的放行一批，马上到期。先任务后发件箱，都只试不等：拿不到的由下一批放，或自己到点。
with first as materialized (
    select task_id, delivery
    from tb_outbox
    where waiting_for = 'pause:' || %(pause)s::uuid and parked_at is null
    order by waiting_since, task_id
    limit %(limit)s
),
held as materialized (
    select t.id
    from tb_task t
    join first f on f.task_id = t.id and f.delivery = t.delivery
    where t.status in ('pending', 'retrying')
    order by t.id
    for no key update of t skip locked
),
taken as materialized (
    select o.task_id
    from tb_outbox o
    join held on held.id = o.task_id
    for update of o skip locked
),
due as (
    update tb_outbox o
    set available_at = least(o.available_at, clock_timestamp()), waiting_for = null, waiting_since = null
    from taken
    where o.task_id = taken.task_id
)
update tb_task t
set available_at = least(t.available_at, clock_timestamp())
from taken
where t.id = taken.task_id and t.available_at > clock_timestamp()
