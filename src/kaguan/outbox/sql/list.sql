-- 任务列表：有索引的条件（by_*）先用，其余的在至多 scan 行里筛；表再大，一页的代价也有上限
with scanned as materialized (
    select id, type, status, queue
    from tb_task
    where id < %(before)s
      and id >= %(since)s
      and (%(by_status)s::text is null or status = %(by_status)s)
      and (not %(by_waiting)s or status in ('pending', 'retrying'))
      and (%(by_type)s::text is null or type = %(by_type)s)
      and (%(request_id)s::text is null or request_id = %(request_id)s)
      and (%(ordering_key)s::text is null or ordering_key = %(ordering_key)s)
    order by id desc
    limit %(scan)s
),
matched as (
    select id
    from scanned
    where (%(type)s::text is null or type = %(type)s)
      and (%(status)s::text is null or status = %(status)s)
      and (%(queue)s::text is null or queue = %(queue)s)
    order by id desc
    limit %(limit)s
)
select
    s.seen, s.reached,
    t.id, t.type, t.queue, t.request_id, t.status, t.attempt, t.max_attempts, t.delivery, t.lost_leases, t.worker,
    t.progress, null as result, t.last_error, t.traceparent, t.created_at, t.available_at, t.queued_at, t.started_at,
    t.finished_at, t.cancel_requested_at, nullif(t.lease_until, '-infinity') as lease_until, t.ordering_key
from (
    select (select count(*)::int from scanned) as seen, (select id from scanned order by id limit 1) as reached
) as s
left join (matched m join tb_task t on t.id = m.id) on true
order by t.id desc
