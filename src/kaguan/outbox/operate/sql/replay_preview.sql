-- 符合条件的任务，老的在前：从 since 起至多看 scan 个，看了几个、看到哪里（seen、reached）总有一行说
with scanned as materialized (
    select
        id, delivery, type, last_error, finished_at,
        (%(queue)s::text is null or queue = %(queue)s)
        and (
            %(error)s::text is null
            or position(%(error)s in last_error->>'reason') > 0
            or jsonb_path_exists(last_error, '$.**.code ? (@ == $code)', jsonb_build_object('code', %(error)s::text))
        )
        and (
            %(reason)s::text is null
            or left(btrim(regexp_replace(coalesce(last_error->>'reason', ''), '\s+', ' ', 'g')), 200) = %(reason)s
        ) as fits
    from tb_task
    where not_done = %(status)s
      and id > %(after)s and id >= %(since)s and id < %(until)s
      and (%(type)s::text is null or type = %(type)s)
    order by id
    limit %(scan)s
)
select s.seen, s.reached, m.id, m.delivery, m.type, m.last_error, m.finished_at
from (
    select (select count(*)::int from scanned) as seen, (select id from scanned order by id desc limit 1) as reached
) as s
left join (select * from scanned where fits order by id limit %(limit)s) as m on true
order by m.id
