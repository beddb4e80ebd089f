-- 此刻另定了的限额，先定的在前
select scope, name, at_once, per_second, reason, actor, created_at, until
from tb_limit
where until > clock_timestamp()
order by created_at, scope, name
