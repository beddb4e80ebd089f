select queued_at
from tb_task
where status = 'queued'
order by queued_at desc, id desc
limit 1
