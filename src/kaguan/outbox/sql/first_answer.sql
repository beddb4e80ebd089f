-- 同一 request_id 的首个任务：供重复提交取回首个答复
select request_id, id, status, fingerprint
from tb_task
where principal = %(principal)s and request_id = any(%(request_ids)s)
