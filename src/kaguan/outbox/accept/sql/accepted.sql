-- 受理过的某一种任务，按受理的次序（测试用）
select id, queue, request_id, principal, status, payload, ordering_key as key
from vw_task
where type = %(type)s
order by id
