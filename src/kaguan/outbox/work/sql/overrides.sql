-- 此刻人另定了什么：一种任务同时几个，去一家外面的几个、几次，还管几秒；要不要这个 worker 收工（谁，为什么）。
-- 一并看有没有在等名额的
select 'limit' as kind, scope, name, at_once, per_second, extract(epoch from until - clock_timestamp())::float8 as seconds
from tb_limit
where until > clock_timestamp()
union all
select 'drain', actor, reason, null, null, null
from tb_drain
where worker = %(worker)s
union all
select 'waiting', '', '', null, null, null
where exists (select from tb_outbox where waiting_for > '' and parked_at is null)
