-- 投递已在队列里：从发件箱里删掉。行都由这个事务锁着
delete from tb_outbox where task_id = any(%(task_ids)s::uuid[])
