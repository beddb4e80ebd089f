-- 一张卡（用过的全部 ICCID）的状态变更，新的在前；一个号码一个号码地走索引，再合起来。
-- 号码与序号写在一起比、一起排：只有配好的那个索引对得上，不会改走序号的，把别的卡的也看一遍
select e.id, e.iccid, e.at, e.old_state, e.new_state, e.carrier_status, e.source, e.task_id
from unnest(%(iccids)s::text[]) as one (iccid)
cross join lateral (
    select *
    from tb_sim_event
    where (iccid, id) > (one.iccid, 0) and (iccid, id) < (one.iccid, %(before)s)
    order by iccid desc, id desc
    limit %(limit)s
) as e
order by e.id desc
limit %(limit)s
