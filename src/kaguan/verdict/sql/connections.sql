-- 这个应用的哪些进程连着：每个进程的连接都报了名字（application_name），空闲进程也看得见
select
    substr(application_name, length(%(namespace)s) + 2) as process,
    coalesce(host(client_addr), 'local') as address,
    count(*)::int as connections,
    count(*) filter (where state = 'active')::int as active,
    min(backend_start) as since,
    extract(epoch from clock_timestamp() - max(state_change))::float8 as quiet_seconds
from pg_stat_activity
where datname = current_database() and starts_with(application_name, %(namespace)s || '-')
group by application_name, client_addr
order by application_name, client_addr
