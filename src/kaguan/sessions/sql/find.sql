-- 会话是谁的：令牌一吊销、一过期，它的会话随即作废
select
    t.id as token_id, t.name, t.scopes, s.csrf,
    extract(epoch from clock_timestamp() - s.last_seen_at)::float8 as idle_seconds
from tb_session s
join tb_api_token t on t.id = s.token_id
where s.id = %(id)s
  and s.expires_at > now()
  and s.last_seen_at > now() - make_interval(secs => %(idle)s)
  and t.revoked_at is null
  and (t.expires_at is null or t.expires_at > now())
