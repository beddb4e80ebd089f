-- 一张卡（用过的全部 ICCID）的变更，新的在前；一个号码一个号码地走索引，再合起来
select
    r.id as receipt_id, c.id, c.change, c.plan, c.reason, c.requested_by, c.requested_at, c.request_id, c.schedule_at,
    r.iccid, r.task_id, r.status, r.reason as refusal, r.order_number, r.evidence, r.called_at, r.settled_at
from (
    select e.*
    from unnest(%(iccids)s::text[]) as one (iccid)
    cross join lateral (
        select *
        from tb_sim_receipt
        where (iccid, id) > (one.iccid, 0) and (iccid, id) < (one.iccid, %(before)s)
        order by iccid desc, id desc
        limit %(limit)s
    ) as e
    order by e.id desc
    limit %(limit)s
) as r
join tb_sim_change c on c.id = any(array[r.change_id])  -- 按号去找，不拿整张表来合并
order by r.id desc
