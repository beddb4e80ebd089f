-- 必须在拿到锁之后另起一条语句：新快照才看得见刚提交的首个应答
select fingerprint, status, headers, body
from tb_idempotency_key
where principal = %(principal)s
  and key = %(key)s
  and expires_at > now()
