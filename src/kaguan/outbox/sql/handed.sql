-- 交出超过 age 秒、不超过 reach 秒、仍在等 worker 的任务，按交出时间一页页看
select id, delivery, job, queue, queued_at, traceparent, request_id,
    clock_timestamp() - queued_at > make_interval(secs => %(backstop)s) as overdue,
    extract(epoch from clock_timestamp() - queued_at)::float8 as age
from tb_task
where status = 'queued'
  and queued_at < clock_timestamp() - make_interval(secs => %(age)s)
  and queued_at > statement_timestamp() - make_interval(secs => %(reach)s)
  and (queued_at, id) > (%(after_at)s, %(after_id)s)
order by queued_at, id
limit %(limit)s
