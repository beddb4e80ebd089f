-- 任务点名的卡里在库的那些。done：本任务这一轮已经问过；fresh：还在新鲜期内。
-- 一轮自检查点里头一次问的时刻起，人工重来或重放之后另起一轮。一张一张按号码找：没有统计信息时，规划器会以为挑没删的更省
with round as materialized (
    select c.carrier, max(c.cursor::timestamptz) as since
    from tb_sync_checkpoint c
    where c.task_id = %(task_id)s and c.sync_type = 'sim_status'
      and not exists (
          select from tb_task_event e
          where e.task_id = c.task_id and e.kind = 'retried' and e.at > c.cursor::timestamptz
      )
    group by c.carrier
)
select s.iccid,
       s.carrier,
       coalesce(s.status_synced_at >= round.since, false) as done,
       coalesce(s.status_synced_at > clock_timestamp() - make_interval(secs => %(freshness)s), false) as fresh
from (select distinct unnest(%(iccids)s::text[]) as iccid) as wanted
cross join lateral (
    select iccid, carrier, status_synced_at from tb_sim where iccid = wanted.iccid and deleted_at is null limit 1
) as s
left join round on round.carrier = s.carrier
order by s.carrier, s.iccid
