-- 队头已有结局（或不在了）的键：腾出队头，并锁着键等放行。head 给定时只看它一个；别人正拿着的键，他会放行
with ended as materialized (
    select o.principal, o.key
    from tb_ordering o
    where o.head is not null
      and (%(head)s::uuid is null or o.head = %(head)s)
      and not exists (
          select from tb_task t where t.id = o.head and t.status in ('pending', 'queued', 'running', 'retrying')
      )
    order by o.principal, o.key
    limit %(limit)s
    for update of o skip locked
)
update tb_ordering o
set head = null, updated_at = clock_timestamp()
from ended
where o.principal = ended.principal and o.key = ended.key
returning o.principal, o.key
