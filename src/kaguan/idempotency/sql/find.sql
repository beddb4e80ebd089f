-- 必须在拿到锁之后另起一条语句：新快照才看得见刚提交的首个应答。
-- 首个的也许只在本机（等同步备库的提交断了、被取消了）：也写一笔 WAL，这次的应答就等到备库有了它
select fingerprint, status, headers, body
-- 先按主键取到再看别的：写在一起，表空着时计划好的会改走到期时刻的索引，没到期的都看一遍
from (select * from tb_idempotency_key where principal = %(principal)s and key = %(key)s limit 1) as first
where expires_at > now()
  and pg_logical_emit_message(true, 'kaguan', '') is not null
