insert into tb_task_event (task_id, kind, attempt, delivery, detail)
values (%(task_id)s, 'verified', %(attempt)s, %(delivery)s, %(detail)s)
