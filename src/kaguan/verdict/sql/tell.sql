-- 与告诉过的不一样的，记成告诉过了，返回是哪几件；别人正在记的留给别人
-- 新的、更重的：看见够久了，同一代号同样重的不久前没有说过；没了的：告诉过、还没有说没了
with recent as materialized (
    select distinct code, told from tb_concern where told_at > now() - make_interval(secs => %(again)s)
),
due as materialized (
    select c.id, c.told as before, n.level
    from tb_concern as c
    left join unnest(%(codes)s::text[], %(subjects)s::text[], %(levels)s::text[]) as n (code, subject, level)
        on c.ended_at is null and n.code = c.code and n.subject = c.subject
    where (c.ended_at is null or (c.told is not null and c.cleared_at is null))
      and c.code = any(%(known)s::text[])
      and (
          c.ended_at is not null
          or (
              (c.told is null or (c.told = 'warn' and n.level = 'bad'))
              and c.first_seen <= clock_timestamp() - make_interval(secs => %(after)s)
              and not exists (select from recent as r where r.code = c.code and (r.told = 'bad' or r.told = n.level))
              and n.level is not null
          )
      )
    order by c.id
    limit %(limit)s
    for update of c skip locked
)
update tb_concern as c
set told = coalesce(d.level, c.told),
    told_at = case when d.level is null then c.told_at else clock_timestamp() end,
    cleared_at = case when d.level is null then clock_timestamp() end
from due as d
where c.id = d.id
returning c.id, c.code, c.subject, c.parameters, c.since, c.ended_at, c.told as level, d.before
