-- 几个任务点名的卡里在库的那些。done：任务这一轮已经问过；fresh：还在新鲜期内。
-- 一轮自检查点里头一次问的时刻起，人工重来或重放之后另起一轮。一张一张按号码找：没有统计信息时，规划器会以为挑没删的更省
with wanted as materialized (
    select distinct task_id, iccid from unnest(%(task_ids)s::uuid[], %(iccids)s::text[]) as w (task_id, iccid)
),
round as materialized (
    select c.task_id, c.carrier, max(c.cursor::timestamptz) as since
    from tb_sync_checkpoint c
    where c.task_id = any(%(task_ids)s::uuid[]) and c.sync_type = 'sim_status'
      and not exists (
          select from tb_task_event e
          where e.task_id = c.task_id and e.kind = 'retried' and e.at > c.cursor::timestamptz
      )
    group by c.task_id, c.carrier
)
select wanted.task_id,
       s.iccid,
       s.carrier,
       coalesce(s.status_synced_at >= round.since, false) as done,
       coalesce(s.status_synced_at > clock_timestamp() - make_interval(secs => %(freshness)s), false) as fresh
from wanted
cross join lateral (
    select iccid, carrier, status_synced_at from tb_sim where iccid = wanted.iccid and deleted_at is null limit 1
) as s
left join round on round.task_id = wanted.task_id and round.carrier = s.carrier
order by wanted.task_id, s.carrier, s.iccid
