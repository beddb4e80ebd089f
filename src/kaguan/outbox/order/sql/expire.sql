-- 久不用的键：没有队头，也就没有在等的
with old as materialized (
    select principal, key
    from tb_ordering
    where head is null and updated_at < now() - make_interval(days => %(days)s)
    limit %(limit)s
    for update skip locked
)
delete from tb_ordering o
using old
where o.principal = old.principal and o.key = old.key
