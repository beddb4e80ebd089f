-- 必须在拿到锁之后另起一条语句：新快照才看得见刚提交的首个应答。
-- 首个的也许只在本机（等同步备库的提交断了、被取消了）：也写一笔 WAL，这次的应答就等到备库有了它
select fingerprint, status, headers, body
from tb_idempotency_key
where principal = %(principal)s
  and key = %(key)s
  and expires_at > now()
  and pg_logical_emit_message(true, 'kaguan', '') is not null
