-- 一段时间里红过、黄过的，新的在前；``last_seen`` 是最后看见的时刻。表有行数的上限，走主键
select
    id, code, subject, case when bad_at is null then 'warn' else 'bad' end as level, parameters, since, first_seen,
    greatest(warn_at, bad_at) as last_seen, ended_at,
    told_at, cleared_at
from tb_concern
where id < %(before)s
  and code = any(%(codes)s::text[])
  and (%(since)s::timestamptz is null or ended_at is null or ended_at >= %(since)s)
  and (%(until)s::timestamptz is null or since < %(until)s)
order by id desc
limit %(limit)s
