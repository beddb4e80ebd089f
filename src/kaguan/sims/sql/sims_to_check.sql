-- 任务点名的卡里在库的那些。done：任务受理之后已经问过（多半是本任务的前一次尝试）；fresh：还在新鲜期内
select s.iccid,
       s.carrier,
       coalesce(s.status_synced_at >= t.created_at, false) as done,
       coalesce(s.status_synced_at > clock_timestamp() - make_interval(secs => %(freshness)s), false) as fresh
from tb_task t
cross join tb_sim s
where t.id = %(task_id)s and s.iccid = any(%(iccids)s::text[]) and s.deleted_at is null
order by s.carrier, s.iccid
