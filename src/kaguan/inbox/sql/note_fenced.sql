insert into tb_task_event (task_id, kind, attempt, delivery, worker)
values (%(task_id)s, 'fenced', %(attempt)s, %(delivery)s, %(worker)s)
