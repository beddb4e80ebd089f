-- 谁有到期的行在等：在每个队列里一个个跳着找，一个提交者有多少行也只看最早的一行
with recursive callers as (
    select q.priority::smallint, first.principal, first.available_at
    from generate_series(0, 2) as q (priority)
    cross join lateral (
        select principal, available_at
        from tb_outbox
        where parked_at is null and priority = q.priority
        order by principal, available_at, task_id
        limit 1
    ) as first
    union all
    select c.priority, next.principal, next.available_at
    from callers c
    cross join lateral (
        select principal, available_at
        from tb_outbox
        where parked_at is null and priority = c.priority and principal > c.principal
        order by principal, available_at, task_id
        limit 1
    ) as next
)
select priority, principal from callers where available_at <= statement_timestamp()
