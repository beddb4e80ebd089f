-- 一个变更任务的回执，连同卡此刻的状态；previous 是这张卡上一次的证据在运营商那里的时刻
select
    r.reference, r.called_at, r.answered_at, r.order_number, clock_timestamp() as now, coalesce(s.lifecycle_state, 'unknown') as state,
    (
        select (p.evidence ->> 'at')::timestamptz
        from tb_sim_receipt p
        where p.iccid = r.iccid and p.id < r.id and p.evidence ? 'status'
        order by p.iccid desc, p.id desc
        limit 1
    ) as previous
from tb_sim_receipt r
left join lateral (
    select lifecycle_state from tb_sim where iccid = r.iccid and deleted_at is null limit 1
) as s on true
where r.task_id = %(task_id)s
