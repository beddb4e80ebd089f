-- 停着的搁到暂停结束，写明停在哪里；那时自己到期，不靠谁来放。行都由这个事务锁着
update tb_outbox o
set available_at = h.until, waiting_for = 'pause:' || h.pause,
    waiting_since = case when starts_with(o.waiting_for, 'pause:') then o.waiting_since else clock_timestamp() end
from unnest(%(task_ids)s::uuid[], %(pauses)s::uuid[], %(untils)s::timestamptz[]) as h (task_id, pause, until)
where o.task_id = h.task_id
