-- 第 low 到 high 块里做完了的各重写一版，一个字不改：本页有空就在本页，没有才去前面的空处。
-- 同一个事务里反复执行：自己的死版本清不掉，本页终究会满。还没有结局的不碰，被锁着的不等
with chosen as materialized (
    select ctid
    from tb_task
    where ctid >= format('(%%s,0)', %(low)s::bigint)::tid and ctid < format('(%%s,0)', %(high)s::bigint)::tid
      and finished_at is not null
    for no key update skip locked
),
written as (
    update tb_task
    set id = id
    where ctid = any(array(select ctid from chosen))
    returning ctid
)
select
    count(*) filter (where ctid < format('(%%s,0)', %(low)s::bigint)::tid),
    count(*) filter (where ctid >= format('(%%s,0)', %(high)s::bigint)::tid),
    count(*)
from written
