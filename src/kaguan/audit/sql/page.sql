-- 新的在前；带条件时至多往回看 scan 行，表再大也不久等
select id, at, actor, action, target, detail, request_id, outcome
from (
    select id, at, actor, action, target, detail, request_id, outcome
    from tb_audit
    where at >= %(since)s
      and (at, id) < (%(before_at)s, %(before_id)s)
    order by at desc, id desc
    limit %(scan)s
) as recent
where (%(actor)s::text is null or actor = %(actor)s)
  and (%(action)s::text is null or action = %(action)s)
  and (%(target)s::text is null or position(%(target)s in target) > 0)
order by at desc, id desc
limit %(limit)s
