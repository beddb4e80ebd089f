-- SAQ 既没收下也没有这个任务（abort 键还在）：过一会儿再交
update tb_outbox
set available_at = clock_timestamp() + make_interval(secs => %(delay)s)
where task_id = any(%(task_ids)s::uuid[])
