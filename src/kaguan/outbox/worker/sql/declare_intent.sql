update tb_task
set intent_at = clock_timestamp()
where id = %(task_id)s and delivery = %(delivery)s and status = 'running'
