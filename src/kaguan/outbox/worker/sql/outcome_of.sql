-- COMMIT 的回音丢了：看看是不是自己已结算过
select status, delivery, claim_id
from tb_task
where id = %(task_id)s
