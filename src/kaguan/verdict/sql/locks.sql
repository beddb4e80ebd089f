-- 挡着我们的语句的会话，只说挡在最前头、自己不等谁的；不读我们的表。别的角色的事务从何时起看不到，是空的：我们的等了多久总看得到
with waiting as materialized (
    select pid, query_start, pg_blocking_pids(pid) as blockers
    from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'
      and starts_with(application_name, %(namespace)s || '-')
      and query_start < clock_timestamp() - make_interval(secs => %(patience)s)
    limit %(cap)s
)
select
    b.pid, coalesce(b.usename, '') as role, b.application_name as application,
    extract(epoch from clock_timestamp() - b.xact_start)::float8 as seconds,
    extract(epoch from clock_timestamp() - min(w.query_start))::float8 as blocking, count(*)::int as blocked
from waiting w
cross join lateral unnest(w.blockers) as front (pid)
join pg_stat_activity b on b.pid = front.pid
where not exists (select from waiting o where o.pid = b.pid)
group by b.pid, b.usename, b.application_name, b.xact_start
order by blocked desc, b.pid
