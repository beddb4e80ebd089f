-- 有了名额：各名额（places）叫回至多 rooms 个在等的。几个队列照 weights、一个队列里的提交者均等地随机轮到，谁堆了十万个
-- 也不挡着别人的一个；一个提交者的先等的先来。一个个跳着找提交者，谁有多少行也只看最早的几行。
-- 剩下不到 near 秒的不必叫，刚叫过的因此也不再叫。先任务后发件箱，都只试不等：拿不到的由下一次叫，或自己到点。
-- 都按号去找：表还空着时计划好的，写成连接就会看遍所有的任务
with recursive callers as (
    select asked.place, asked.room, first.priority, first.principal
    from unnest(%(places)s::text[], %(rooms)s::int[]) as asked (place, room)
    cross join lateral (
        select priority, principal
        from tb_outbox
        where waiting_for = asked.place and parked_at is null
        order by priority, principal
        limit 1
    ) as first
    union all
    select c.place, c.room, next.priority, next.principal
    from callers c
    cross join lateral (
        select priority, principal
        from tb_outbox
        where waiting_for = c.place and parked_at is null and (priority, principal) > (c.priority, c.principal)
        order by priority, principal
        limit 1
    ) as next
),
lined as (
    select c.place, c.room, c.priority, next.task_id, next.delivery,
        row_number() over (partition by c.place, c.priority, c.principal order by next.waiting_since, next.task_id) as turn
    from callers c
    cross join lateral (
        select task_id, delivery, waiting_since
        from tb_outbox
        where waiting_for = c.place and parked_at is null and priority = c.priority and principal = c.principal
          and available_at > clock_timestamp() + make_interval(secs => %(near)s)
        order by waiting_since, task_id
        limit c.room
    ) as next
),
chosen as materialized (
    select place, priority, task_id, delivery
    from (
        select lined.*,
            -- 加权的随机次序：各取 -ln(u)/权重，小的在前
            row_number() over (
                partition by place order by turn, -ln(1 - random()) / (%(weights)s::int[])[priority + 1]
            ) as number
        from lined
    ) as numbered
    where number <= room
),
held as materialized (
    select t.id
    from tb_task t
    join chosen on chosen.task_id = t.id and chosen.delivery = t.delivery
    where t.id = any(array(select task_id from chosen)) and t.status = 'retrying'
    order by t.id
    for no key update of t skip locked
),
taken as materialized (
    select o.task_id
    from tb_outbox o
    where o.task_id = any(array(select id from held))
    for update skip locked
),
recalled as (
    update tb_outbox o
    set available_at = clock_timestamp()
    where o.task_id = any(array(select task_id from taken))
),
told as (
    update tb_task t
    set available_at = clock_timestamp()
    where t.id = any(array(select task_id from taken))
)
select chosen.place, chosen.priority
from taken
join chosen on chosen.task_id = taken.task_id
