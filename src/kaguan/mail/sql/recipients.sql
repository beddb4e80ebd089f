-- 这封信已有的逐收件人记录；Date 头取第一次尝试的时刻，此后不变
select recipient, status, intended_at
from tb_email_delivery
where task_id = %(task_id)s
