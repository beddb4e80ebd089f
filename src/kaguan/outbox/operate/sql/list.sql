-- 任务列表，几种状态的一种一份（own_*），合成一条语句：有索引的条件（by_*）先用，其余的在至多 scan 行里筛；表再大，一页的代价也有上限
with scanned as materialized (
    select
        t.id, t.type, t.queue, t.principal,
        t.status = 'pending' and t.available_at > clock_timestamp() as scheduled,
        case
            when w.lease_until is not null then 'running'
            when w.task_id is not null then 'queued'
            else t.status
        end as status,
        -- 就在看着的这一行上判：不另去翻记录
        %(error)s::text is null
        or position(%(error)s in t.last_error->>'reason') > 0
        or jsonb_path_exists(t.last_error, '$.**.code ? (@ == $code)', jsonb_build_object('code', %(error)s::text)) as told,
        %(containing)s::jsonb[] is null or t.payload @> any(%(containing)s::jsonb[]) as contains,
        (%(suffix)s::text is null and %(parts)s::text[] is null)
        or t.id::text like '%%' || %(suffix)s
        or exists (
            select
            from unnest(%(parts)s::text[]) as p (part)
            where position(p.part in lower(concat_ws(' ', t.request_id, t.ordering_key))) > 0
                or exists (
                    select
                    from unnest(%(fields)s::text[]) as f (name)
                    where pg_column_size(t.payload) <= %(largest)s
                        and position(p.part in lower(t.payload ->> f.name)) > 0
                )
        ) as sought
    from tb_task t
    left join tb_work w on w.task_id = t.id and w.delivery = t.delivery
    where t.id < %(before)s
      and t.id >= %(since)s
      and (%(own_by_status)s::text is null or t.not_done = %(own_by_status)s)
      and (
          not %(own_by_waiting)s
          or t.id = any(array(
              (
                  select task_id
                  from tb_outbox
                  where task_id < %(before)s and task_id >= %(since)s
                  order by task_id desc
                  limit %(own_scan)s
              )
              union
              (
                  select id
                  from tb_task
                  where in_line is not null and id < %(before)s and id >= %(since)s
                  order by id desc
                  limit %(own_scan)s
              )
          ))
      )
      and (
          not %(own_by_work)s
          or t.id = any(array(
              select task_id
              from tb_work
              where (lease_until is null) = (%(own_status)s = 'queued')
                and (
                    %(queue)s::text is null
                    or priority = case %(queue)s when 'critical' then 0 when 'default' then 1 else 2 end
                )
                and task_id < %(before)s and task_id >= %(since)s
              order by task_id desc
              limit %(own_scan)s
          ))
      )
      and (%(ids)s::uuid[] is null or t.id = any(%(ids)s::uuid[]))
      and (%(own_by_type)s::text is null or t.type = %(own_by_type)s)
      and (%(request_id)s::text is null or t.request_id = %(request_id)s)
      and (%(ordering_key)s::text is null or t.ordering_key = %(ordering_key)s)
    order by t.id desc
    limit %(own_scan)s
),
matched as (
    select id
    from scanned
    where (%(type)s::text is null or type = %(type)s)
      and (%(own_status)s::text is null or status = %(own_status)s)
      and (%(queue)s::text is null or queue = %(queue)s)
      and (%(caller)s::text is null or principal = %(caller)s)
      and (%(scheduled)s::boolean is null or scheduled = %(scheduled)s)
      and coalesce(told, false)
      and contains
      and coalesce(sought, false)
    order by id desc
    limit %(limit)s
)
select
    %(own_page)s::int as page, s.seen, s.reached,
    t.id, t.type, t.queue, t.principal as caller, t.request_id, t.status, t.attempt, t.max_attempts, t.delivery,
    t.lost_leases, t.worker,
    t.progress, null as result, t.last_error, t.traceparent, t.created_at, t.available_at, t.queued_at, t.started_at,
    t.finished_at, t.cancel_requested_at, nullif(t.lease_until, '-infinity') as lease_until, t.ordering_key
from (
    select (select count(*)::int from scanned) as seen, (select id from scanned order by id limit 1) as reached
) as s
left join (matched m join vw_task t on t.id = m.id) on true
order by t.id desc
