-- Redis 丢过数据：此刻之前交出的，一批批重投
select id, delivery
from tb_task
where status = 'queued' and queued_at < %(before)s
order by queued_at, id
limit %(limit)s
