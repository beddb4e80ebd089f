-- 一张卡一张回执；受理了的，任务也记在卡的名下
with given as materialized (
    select *
    from unnest(
        %(iccids)s::text[], %(sim_ids)s::bigint[], %(accepted)s::uuid[], %(refusals)s::jsonb[]
    ) with ordinality as t (iccid, sim_id, task_id, refusal, place)
),
noted as (
    insert into tb_sim_task (sim_id, task_id)
    select sim_id, task_id
    from given
    where task_id is not null
)
insert into tb_sim_receipt (change_id, iccid, task_id, status, reason, settled_at)
select
    %(change_id)s, iccid, task_id, case when task_id is null then 'refused' else 'pending' end, refusal,
    case when task_id is null then now() end
from given
order by place
