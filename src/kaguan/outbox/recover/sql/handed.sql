-- 交出超过 age 秒、不超过 reach 秒、仍在等 worker 的任务，按交出时间一页页看
select w.task_id as id, w.delivery, w.job, t.queue, w.queued_at, t.traceparent, t.request_id,
    clock_timestamp() - w.queued_at > make_interval(secs => %(backstop)s) as overdue,
    extract(epoch from clock_timestamp() - w.queued_at)::float8 as age
from (
    select *
    from tb_work
    where lease_until is null
      and queued_at < statement_timestamp() - make_interval(secs => %(age)s)
      and queued_at > statement_timestamp() - make_interval(secs => %(reach)s)
      and (queued_at, task_id) > (%(after_at)s, %(after_id)s)
    order by queued_at, task_id
    limit %(limit)s
) as w
join tb_task t on t.id = w.task_id and t.delivery = w.delivery
order by w.queued_at, w.task_id
