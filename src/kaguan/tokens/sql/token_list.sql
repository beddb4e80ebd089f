select id, name, hint, scopes, created_at, expires_at, last_used_at, revoked_at
from tb_api_token
order by id
