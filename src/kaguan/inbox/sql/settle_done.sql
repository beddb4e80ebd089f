update tb_task
set status = 'succeeded', result = %(result)s, progress = coalesce(%(progress)s::jsonb, progress), finished_at = clock_timestamp(), lease_until = null, worker = null,
    intent_at = null
where id = %(task_id)s and delivery = %(delivery)s and attempt = %(attempt)s and status = 'running'
returning status, extract(epoch from clock_timestamp() - created_at)::float8 as age
