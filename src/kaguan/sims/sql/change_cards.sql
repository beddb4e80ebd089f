-- 点名的卡此刻的样子，次序与给的相同：在库的一行，排在谁后面，最近一次没有定论的变更，今天已受理几次
-- 一张一张按号码找，号码与序号写在一起比、一起排（同 events）；次数数到用完为止。没有动过就取消了的不算。
-- 状态写成子查询：按号码去找，别走没有定论的那个部分索引
select
    w.iccid, s.id, s.carrier, s.lifecycle_state, s.plan, head.id as behind, last.status as last_status,
    last.change as last_change, last.plan as last_plan, coalesce(today.count, 0) as today
from unnest(%(iccids)s::text[]) with ordinality as w (iccid, place)
left join lateral (
    select id, carrier, lifecycle_state, plan from tb_sim where iccid = w.iccid and deleted_at is null limit 1
) as s on true
left join lateral (
    select t.id
    from (select head from tb_ordering where principal = %(principal)s and key = w.iccid limit 1) as o
    cross join lateral (select id, status, ordering_holds from tb_task where id = o.head limit 1) as t
    where t.status in ('pending', 'retrying', 'uncertain') or t.status = 'failed' and t.ordering_holds
) as head on true
left join lateral (
    select r.status, c.change, c.plan
    from (
        select change_id, status
        from tb_sim_receipt
        where (iccid, id) > (w.iccid, 0) and (iccid, id) <= (w.iccid, 9223372036854775807)
          and (select status) in ('pending', 'uncertain')
        order by iccid desc, id desc
        limit 1
    ) as r
    cross join lateral (select change, plan from tb_sim_change where id = r.change_id limit 1) as c
) as last on true
left join lateral (
    select count(*)
    from (
        select
        from tb_sim_receipt
        where (iccid, id) > (w.iccid, 0) and (iccid, id) <= (w.iccid, 9223372036854775807)
          and requested_at >= %(since)s and (called_at is not null or status = 'pending')
        order by iccid desc, id desc
        limit %(most)s
    ) as counted
) as today on true
order by w.place
