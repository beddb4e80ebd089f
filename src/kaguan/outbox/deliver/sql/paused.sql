-- 停着的行：停在哪一处、几个（封顶）、最久的停了几秒；那一处已不在了的（没有 scope）要放行。一处处跳着看
with recursive places as (
    (
        select waiting_for
        from tb_outbox
        where waiting_for > 'pause:' and waiting_for < 'pause;' and parked_at is null
        order by waiting_for
        limit 1
    )
    union all
    select next.waiting_for
    from places c
    cross join lateral (
        select waiting_for
        from tb_outbox
        where waiting_for > c.waiting_for and waiting_for < 'pause;' and parked_at is null
        order by waiting_for
        limit 1
    ) as next
)
select
    substr(c.waiting_for, 7)::uuid as id, p.scope, coalesce(p.until > clock_timestamp(), false) as live,
    (
        select count(*)::int
        from (
            select
            from tb_outbox o
            where o.waiting_for = c.waiting_for and o.parked_at is null
            limit %(cap)s
        ) as w
    ) as waiting,
    (
        select extract(epoch from clock_timestamp() - o.waiting_since)::float8
        from tb_outbox o
        where o.waiting_for = c.waiting_for and o.parked_at is null
        order by o.waiting_since, o.task_id
        limit 1
    ) as oldest
from places c
left join tb_pause p on p.id = substr(c.waiting_for, 7)::uuid
