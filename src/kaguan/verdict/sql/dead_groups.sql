-- 死信按类型与原因归并：只看最新的 cap 个。原因的写法（空白归一、前 200 字）与重放的 reason 条件相同
select
    type,
    left(btrim(regexp_replace(coalesce(last_error ->> 'reason', ''), '\s+', ' ', 'g')), 200) as reason,
    (array_agg(last_error order by id desc))[1] as error,
    count(*)::int as count,
    max(coalesce(finished_at, started_at, created_at)) as latest_at,
    (array_agg(id order by id desc))[1] as example
from (
    select id, type, last_error, finished_at, started_at, created_at
    from tb_task
    where not_done = %(status)s
    order by id desc
    limit %(cap)s
) as recent
group by 1, 2
order by count(*) desc, 4 desc
limit %(limit)s
