select id, change, plan, reason, requested_by, requested_at, request_id, schedule_at
from tb_sim_change
where id = %(change_id)s
