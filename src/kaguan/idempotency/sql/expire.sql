with old as materialized (
    select principal, key
    from tb_idempotency_key
    where expires_at < clock_timestamp()
    order by expires_at
    limit %(limit)s
    for update skip locked
)
delete from tb_idempotency_key k
using old
where k.principal = old.principal and k.key = old.key
