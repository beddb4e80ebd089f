-- 各收件人同属一封信，Message-ID 相同
select message_id
from tb_email_delivery
where task_id = %(task_id)s
limit 1
