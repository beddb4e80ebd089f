-- 认领：投递号是隔离令牌。没有返回行 = 别人有它，或已做完：安静地算了。
update tb_task
set status = 'running', attempt = attempt + 1, worker = %(worker)s, started_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => %(lease)s)
where id = %(task_id)s and delivery = %(delivery)s
  and status in ('pending', 'queued', 'retrying') and attempt < max_attempts
returning
    type, queue, attempt, max_attempts, payload, request_id, intent_at is not null as intended, traceparent,
    extract(epoch from clock_timestamp() - created_at)::float8 as age,
    extract(epoch from clock_timestamp() - coalesce(queued_at, clock_timestamp()))::float8 as queued_for
