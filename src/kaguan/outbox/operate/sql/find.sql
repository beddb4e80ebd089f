select
    id, type, queue, principal as caller, request_id, status, attempt, max_attempts, delivery, lost_leases, worker, progress, result,
    last_error, traceparent, attempt_traceparent, created_at, available_at, queued_at, started_at, finished_at,
    cancel_requested_at, nullif(lease_until, '-infinity') as lease_until, ordering_key
from vw_task
where id = %(task_id)s
