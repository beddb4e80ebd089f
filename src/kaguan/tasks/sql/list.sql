-- 键集分页：id 是 UUIDv7，按它倒序即按时间倒序；since/until 换算成 id 的边界，走主键
select
    id, type, queue, request_id, status, attempt, max_attempts, delivery, lost_leases, worker, progress, null as result,
    last_error, traceparent, created_at, available_at, queued_at, started_at, finished_at, cancel_requested_at,
    nullif(lease_until, '-infinity') as lease_until
from tb_task
where id < %(before)s
  and id >= %(since)s
  and (%(type)s::text is null or type = %(type)s)
  and (%(status)s::text is null or status = %(status)s)
  and (%(queue)s::text is null or queue = %(queue)s)
  and (%(request_id)s::text is null or request_id = %(request_id)s)
order by id desc
limit %(limit)s
