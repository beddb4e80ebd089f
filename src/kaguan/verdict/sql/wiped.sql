-- Redis 不久前丢过数据：纪元换过，而在那之前就有任务（头一次启动不算）
select since
from tb_broker
where id = 1
  and since > clock_timestamp() - make_interval(secs => %(window)s)
  and since > (select created_at from tb_task order by id limit 1)
