-- Redis 丢过数据：此刻之前交出的，一批批重投
select w.task_id, w.delivery
from tb_work w
join tb_task t on t.id = w.task_id and t.delivery = w.delivery
where w.lease_until is null and w.queued_at < %(before)s and t.status in ('pending', 'retrying')
order by w.queued_at, w.task_id
limit %(limit)s
