-- 这个 request_id 头一次要求了什么
select
    c.id, c.asked = %(asked)s::jsonb as same,
    (select count(*) from tb_sim_receipt r where r.change_id = c.id and r.task_id is not null) as accepted,
    (select count(*) from tb_sim_receipt r where r.change_id = c.id and r.task_id is null) as refused
from tb_sim_change c
where c.requested_by = %(requested_by)s and c.request_id = %(request_id)s
