-- 令牌：按摘要找；已吊销、已过期的不算
select id, name, token_hash, scopes
from tb_api_token
where token_hash = %(token_hash)s
  and revoked_at is null
  and (expires_at is null or expires_at > now())
