-- 最后使用时间：攒着一起写，一分钟内写过的不再写
update tb_api_token
set last_used_at = now()
where id = any(%(ids)s)
  and (last_used_at is null or last_used_at < now() - interval '1 minute')
