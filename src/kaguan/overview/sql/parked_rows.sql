select task_id, type, priority, parked_at, parked_reason
from tb_outbox
where parked_at is not null
order by parked_at desc
limit %(limit)s
