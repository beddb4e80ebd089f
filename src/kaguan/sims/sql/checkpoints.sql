select carrier, sync_type, day, cursor, batches, counters, done_at is not null
from tb_sync_checkpoint
where task_id = %(task_id)s
order by day
