-- 同一提交者、同一 request_id 的首个任务：供重复提交取回首个答复。
-- 首次的也许只在本机（等同步备库的提交断了、被取消了）：也写一笔 WAL，这次的答复就等到备库有了它
select t.principal, t.request_id, t.id, t.status, t.fingerprint
from unnest(%(principals)s::text[], %(request_ids)s::text[]) as r (principal, request_id)
join vw_task t on t.principal = r.principal and t.request_id = r.request_id
where t.request_id is not null and pg_logical_emit_message(true, 'kaguan', '') is not null
