select id, type, last_error, finished_at
from tb_task
where status = %(status)s
  and id >= %(since)s and id < %(until)s
  and (%(type)s::text is null or type = %(type)s)
order by id
limit %(limit)s
