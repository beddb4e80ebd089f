-- 最近一次关于「不明」的事：搁置（uncertain）、又一次不明（resend、to_verify），还是有人让它重来（retried）；一次决定只抵一次
select kind
from tb_task_event
where task_id = %(task_id)s and kind in ('uncertain', 'resend', 'to_verify', 'retried')
order by id desc
limit 1
