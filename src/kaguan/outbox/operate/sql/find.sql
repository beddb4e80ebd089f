-- 做成了的，手里的那一行已不在：认领号末尾是 worker 名字的尾巴，自己取名的没有
select
    id, type, queue, principal as caller, request_id, status, attempt, max_attempts, delivery, lost_leases,
    coalesce(
        worker, case when status = 'succeeded' then '…' || nullif(right(claim_id::text, 8), repeat('0', 8)) end
    ) as worker,
    progress, result,
    last_error, traceparent, attempt_traceparent, created_at, available_at, queued_at, started_at, finished_at,
    cancel_requested_at, nullif(lease_until, '-infinity') as lease_until, ordering_key
from vw_task
where id = %(task_id)s
