-- 吊销，并通知记着令牌的各个 API 进程（随提交送出）
with revoked as (
    update tb_api_token
    set revoked_at = now()
    where name = %(name)s
      and revoked_at is null
    returning id
)
select id, pg_notify(%(channel)s, '') from revoked
