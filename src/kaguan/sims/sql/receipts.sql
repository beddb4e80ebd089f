-- 一次变更的全部回执，照受理的次序
select r.iccid, r.task_id, r.status, r.reason, r.order_number, r.evidence, r.called_at, r.settled_at
from tb_sim_receipt r
where r.change_id = %(change_id)s
order by r.id
