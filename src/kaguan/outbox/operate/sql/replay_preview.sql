-- 符合条件的任务，老的在前；多取一个，好知道是不是被截住了
select id, delivery, type, last_error, finished_at
from tb_task
where status = %(status)s
  and id >= %(since)s and id < %(until)s
  and (%(type)s::text is null or type = %(type)s)
  and (%(queue)s::text is null or queue = %(queue)s)
  and (
      %(error)s::text is null
      or position(%(error)s in last_error->>'reason') > 0
      or jsonb_path_exists(last_error, '$.**.code ? (@ == $code)', jsonb_build_object('code', %(error)s::text))
  )
  and (
      %(reason)s::text is null
      or left(btrim(regexp_replace(coalesce(last_error->>'reason', ''), '\s+', ' ', 'g')), 200) = %(reason)s
  )
order by id
limit %(limit)s
