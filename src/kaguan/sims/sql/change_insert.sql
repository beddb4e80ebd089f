-- 同一个人的同一个 request_id 只有一次：已有的不动，没有行
insert into tb_sim_change (change, plan, reason, requested_by, request_id, schedule_at, asked, cards)
values (%(change)s, %(plan)s, %(reason)s, %(requested_by)s, %(request_id)s, %(schedule_at)s, %(asked)s, %(cards)s)
on conflict (requested_by, request_id) where request_id is not null do nothing
returning id
