-- 每种任务近来要多久：沿（类型，号）的索引从正在做的往前看 scan 个（种类多了就少看些，合起来不过 looked 个），其中有了结局的算；
-- 等了多久是到期到开始，跑了多久是最后一次尝试。不看 finished_at 的次序：那一列随结算而变。
-- 类型写成上下界、连它一起排：别沿主键去找一种少见的
-- 另看一分钟里受理的，最新的 cap 个：不止这么多的，照它们占了多久
with recursive known (type) as (
    (select type from tb_task order by type limit 1)
    union all
    select (select t.type from tb_task t where t.type > k.type order by t.type limit 1)
    from known k
    where k.type is not null
),
named as (select type from known where type is not null limit %(types)s),
hand as (
    select t.type, (array_agg(t.id order by t.id desc))[1] as newest
    from (select task_id from tb_work order by queued_at desc limit %(hand)s) as w
    join tb_task t on t.id = any(array[w.task_id])  -- 按号去找，别拿整张表来合并
    group by t.type
)
select
    n.type,
    (
        select case
            when count(*) < %(cap)s then count(*) / 60.0
            else count(*) / greatest(0.001, extract(epoch from now() - min(fresh.created_at)))
        end::float8
        from (
            select t.created_at from tb_task t
            where t.type <= n.type and (t.type, t.id) >= (
                n.type, (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - 60000), 12, '0') || repeat('0', 20))::uuid
            )
            order by t.type desc, t.id desc
            limit %(cap)s
        ) as fresh
    ) as arriving,
    d.sample, d.waited, d.ran
from named n
left join hand h on h.type = n.type
cross join lateral (
    select
        count(*)::int as sample,
        percentile_cont(array[0.5, 0.95, 0.99]) within group (order by s.waited) as waited,
        percentile_cont(array[0.5, 0.95, 0.99]) within group (order by s.ran) as ran
    from (
        select
            greatest(extract(epoch from t.started_at - greatest(t.created_at, t.available_at)), 0)::float8 as waited,
            extract(epoch from t.finished_at - t.started_at)::float8 as ran, t.finished_at, t.started_at
        from tb_task t
        where t.type >= n.type
          and (t.type, t.id) <= (n.type, coalesce(h.newest, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
        order by t.type desc, t.id desc
        limit greatest(100, least(%(scan)s, %(looked)s / (select count(*) from named)))
    ) as s
    where s.finished_at is not null and s.started_at is not null
) as d
order by n.type
