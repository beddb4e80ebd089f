-- 最近一次关于「不明」的决定：搁置（uncertain）还是有人让它重来（retried）
select kind
from tb_task_event
where task_id = %(task_id)s and kind in ('uncertain', 'retried')
order by id desc
limit 1
