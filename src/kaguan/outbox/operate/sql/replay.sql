-- 重放选定的那几个：投递号与选定时相同、条件仍成立的才算数（又失败过的投递号更大，不在其中）。
-- 每秒至多 rate 个（错开 available_at），逐个留痕；正被别人锁着的跳过
with chosen as materialized (
    select t.id
    from unnest(%(task_ids)s::uuid[], %(deliveries)s::int[]) as shown (id, delivery)
    join tb_task t on t.id = shown.id and t.delivery = shown.delivery
    where t.status = %(status)s
      and t.id >= %(since)s and t.id < %(until)s
      and (%(type)s::text is null or t.type = %(type)s)
      and (%(queue)s::text is null or t.queue = %(queue)s)
      and (
          %(error)s::text is null
          or position(%(error)s in t.last_error->>'reason') > 0
          or jsonb_path_exists(t.last_error, '$.**.code ? (@ == $code)', jsonb_build_object('code', %(error)s::text))
      )
      and (
          %(reason)s::text is null
          or left(btrim(regexp_replace(coalesce(t.last_error->>'reason', ''), '\s+', ' ', 'g')), 200) = %(reason)s
      )
    order by t.id
    for no key update of t skip locked
),
revived as (
    update tb_task t
    set status = 'pending', attempt = 0, delivery = t.delivery + 1, lost_leases = 0, finished_at = null,
        queued_at = null, cancel_requested_at = null,
        available_at = clock_timestamp() + make_interval(secs => (c.position + %(ahead)s) / %(rate)s::float8)
    from (select id, row_number() over (order by id) - 1 as position from chosen) as c
    where t.id = c.id
    returning t.id, t.type, t.queue, t.principal, t.attempt, t.delivery, t.available_at
),
staged as (
    insert into tb_outbox ({{row}})
    select
        id, delivery, type,
        {{rank}},
        principal, available_at
    from revived
    on conflict (task_id) do update
    {{again}}
),
noted as (
    insert into tb_task_event (task_id, kind, attempt, delivery, actor, detail)
    select id, 'retried', attempt, delivery, %(actor)s, %(detail)s
    from revived
)
select coalesce(array_agg(id order by id), '{}'), max(available_at) from revived
