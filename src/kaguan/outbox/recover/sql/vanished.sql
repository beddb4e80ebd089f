-- 不见了的，任务号（也就是受理的先后）大的在前
select task_id, type, request_id, delivery, first_seen
from tb_vanished
where %(after)s::uuid is null or task_id < %(after)s
order by task_id desc
limit %(limit)s
