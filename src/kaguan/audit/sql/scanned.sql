-- page.sql 往回看到哪一行；没有看满 scan 行就没有
select id, at
from tb_audit
where at >= %(since)s
  and (at, id) < (%(before_at)s, %(before_id)s)
order by at desc, id desc
offset %(scan)s - 1
limit 1
