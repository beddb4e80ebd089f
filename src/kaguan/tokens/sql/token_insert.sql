insert into tb_api_token (name, token_hash, hint, scopes, expires_at)
values (%(name)s, %(token_hash)s, %(hint)s, %(scopes)s, now() + make_interval(secs => %(lifetime)s))
returning id, name, hint, scopes, created_at, expires_at, last_used_at, revoked_at
