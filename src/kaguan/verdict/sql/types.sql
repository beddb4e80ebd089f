-- 有哪几种任务：沿索引一种一跳，任务再多也只看这么几行
with recursive known (type) as (
    (select type from tb_task order by type limit 1)
    union all
    select (select t.type from tb_task t where t.type > k.type order by t.type limit 1)
    from known k
    where k.type is not null
)
select type from known where type is not null limit %(cap)s
