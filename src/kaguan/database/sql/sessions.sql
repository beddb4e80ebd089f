-- 谁在等锁、谁的快照压着清理：等锁的在前，其次是最老的事务。语句只给自己进程的：它们不带值，注释不要。
-- 给了 pids，就只看其中自己进程的，与挡着它们的
select
    pid,
    coalesce(application_name, '') as application,
    coalesce(usename, '') as role,
    state,
    extract(epoch from clock_timestamp() - xact_start)::float8 as seconds,
    age(backend_xmin)::bigint as snapshot,
    nullif(concat_ws(' ', wait_event_type, wait_event), '') as waits,
    case when wait_event_type = 'Lock' then pg_blocking_pids(pid) else '{}' end as blocked_by,
    case
        when starts_with(application_name, %(namespace)s || '-')
            then left(btrim(regexp_replace(query, '--[^\n]*\n?', '', 'g')), 300)
    end as statement
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
    and (xact_start is not null or backend_xmin is not null or wait_event_type = 'Lock' or %(pids)s::int[] is not null)
    and (
        %(pids)s::int[] is null
        or pid = any(%(pids)s) and starts_with(application_name, %(namespace)s || '-')
        or pid = any(array(select unnest(pg_blocking_pids(one)) from unnest(%(pids)s::int[]) as one))
    )
order by wait_event_type = 'Lock' desc nulls last, xact_start nulls last, pid
limit %(limit)s
