-- 受理一批任务：一条语句，在谁的事务里就随谁提交
select place, task_id, status, outcome from outbox_accept(cast(%(tasks)s as jsonb))
