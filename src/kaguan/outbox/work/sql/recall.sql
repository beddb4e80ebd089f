-- 外面恢复了：在等它的，先等的先叫回来。只看最先的 room 行：叫回来而还没交出的占着位置，一波不会压过一波。
-- 剩下不到 near 秒的不必叫。先任务后发件箱，都只试不等：拿不到的由下一次叫，或自己到点。
with first as materialized (
    select task_id, delivery, available_at
    from tb_outbox
    where waiting_for = %(waiting_for)s and parked_at is null
    order by waiting_since, task_id
    limit %(room)s
),
held as materialized (
    select t.id
    from tb_task t
    join first f on f.task_id = t.id and f.delivery = t.delivery
    where t.status = 'retrying' and f.available_at > clock_timestamp() + make_interval(secs => %(near)s)
    order by t.id
    for no key update of t skip locked
),
taken as materialized (
    select o.task_id, clock_timestamp() + random() * make_interval(secs => %(spread)s) as due
    from tb_outbox o
    join held on held.id = o.task_id
    for update of o skip locked
),
recalled as (
    update tb_outbox o
    set available_at = taken.due
    from taken
    where o.task_id = taken.task_id
)
update tb_task t
set available_at = taken.due
from taken
where t.id = taken.task_id
