update tb_task
set progress = %(progress)s, attempt_traceparent = %(traceparent)s
where id = %(task_id)s and delivery = %(delivery)s and status = 'running'
