select id, type, last_error, finished_at
from tb_task
where status = %(status)s
  and id >= %(since)s and id < %(until)s
  and (%(type)s::text is null or type = %(type)s)
  and (%(queue)s::text is null or queue = %(queue)s)
  and (%(error)s::text is null or position(%(error)s in last_error->>'reason') > 0)
order by id
limit %(limit)s
