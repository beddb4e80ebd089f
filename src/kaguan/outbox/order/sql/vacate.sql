-- 这些队头里已有结局（或不在了）的：腾出，并锁着键等放行。别人正拿着的键，他会放行
with ended as materialized (
    select o.principal, o.key
    from tb_ordering o
    where o.head = any(%(heads)s::uuid[])
      and not exists (
          select from tb_task where id = o.head and {{stands}}
      )
    order by o.principal, o.key
    for update of o skip locked
)
update tb_ordering o
set head = null, updated_at = clock_timestamp()
from ended
where o.principal = ended.principal and o.key = ended.key
returning o.principal, o.key
