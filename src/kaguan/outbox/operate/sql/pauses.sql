-- 还在停着的，先停的在前；各有几个在等（封顶）
select
    p.id, p.scope, p.name, p.reason, p.actor, p.created_at, p.until,
    (
        select count(*)::int
        from (
            select
            from tb_outbox
            where waiting_for = 'pause:' || p.id and parked_at is null
            limit %(cap)s
        ) as w
    ) as waiting
from tb_pause p
where p.until > clock_timestamp()
order by p.created_at, p.id
