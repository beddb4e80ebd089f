-- 最近的例外：只在最新的一段里找，同一种任务、同一个原因的合成一行
select
    f.kind, t.type, count(*)::int as count, min(f.at) as first_at, max(f.at) as last_at,
    (array_agg(f.task_id order by f.id desc))[1] as task_id,
    (array_agg(f.detail order by f.id desc))[1] as detail
from (
    select id, at, kind, task_id, detail
    from tb_task_event
    order by id desc
    limit %(scan)s
) as f
left join lateral (select t.type from tb_task t where t.id = f.task_id limit 1) as t on true  -- 按号去找，不看遍所有的任务
where f.kind = any(%(kinds)s::text[])
group by f.kind, t.type, coalesce(f.detail->>'code', f.detail->>'reason', f.detail->>'cause')
order by max(f.id) desc
limit %(limit)s
