select queued_at
from tb_work
where lease_until is null
order by queued_at desc, task_id desc
limit 1
