-- 登录：先扫掉过期的（表很小，有索引），再记新的
with gone as (
    delete from tb_session where expires_at < now()
)
insert into tb_session (id, token_id, csrf, expires_at)
values (%(id)s, %(token_id)s, %(csrf)s, now() + make_interval(secs => %(lifetime)s))
