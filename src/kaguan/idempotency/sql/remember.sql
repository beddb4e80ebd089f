insert into tb_idempotency_key (principal, key, fingerprint, status, headers, body, expires_at)
values (%(principal)s, %(key)s, %(fingerprint)s, %(status)s, %(headers)s, %(body)s,
        now() + make_interval(secs => %(lifetime)s))
on conflict (principal, key) do update
set fingerprint = excluded.fingerprint,
    status = excluded.status,
    headers = excluded.headers,
    body = excluded.body,
    created_at = now(),
    expires_at = excluded.expires_at
