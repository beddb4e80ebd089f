-- 一行摘要要的几样：类型说了看载荷的哪几处，各取头一个与个数。合计看够 most 字节就不看了，头一个总看
select
    t.id,
    t.type,
    {{summarised}}
from (
    select
        id, type,
        payload - '' as payload,  -- 只解一次压
        sum(pg_column_size(payload)) over (order by id desc rows between unbounded preceding and 1 preceding) as before
    from tb_task
    where id = any(%(task_ids)s)
) as t
where coalesce(t.before, 0) < %(most)s
