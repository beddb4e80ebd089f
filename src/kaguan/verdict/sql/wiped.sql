-- Redis 不久前丢过数据：纪元换过，而在那之前就有任务
select lost_at
from tb_broker
where id = 1
  and lost_at > clock_timestamp() - make_interval(secs => %(window)s)
  and lost_at > (select created_at from tb_task order by id limit 1)
