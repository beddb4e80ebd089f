-- 还收着的，先收的在前
select id, code, subject, level, most, reason, actor, created_at, until
from tb_acknowledgement
where until > clock_timestamp()
order by created_at, id
