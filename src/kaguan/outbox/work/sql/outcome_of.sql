-- 没写成：是自己已结算过（COMMIT 的回音丢了），还归自己（历史没有核对完），还是令牌已失效
select status, delivery, claim_id
from vw_task
where id = %(task_id)s
