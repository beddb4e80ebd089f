-- 这个 PostgreSQL 此刻怎样；只看系统视图，不碰任何表，谁锁着什么也答得出
select
    current_setting('server_version') as version,
    pg_postmaster_start_time() as started_at,
    pg_database_size(current_database()) as bytes,
    pg_is_in_recovery() as in_recovery,
    current_setting('autovacuum') = 'on' as autovacuum,
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as allowed,
    activity.open,
    activity.ours,
    activity.oldest,
    (select count(*)::int from pg_prepared_xacts where database = current_database()) as prepared,
    slots.kept as kept_wal,
    clock_timestamp() as now
from (
    select
        count(*) filter (where backend_type = 'client backend')::int as open,
        count(*) filter (where starts_with(application_name, %(namespace)s || '-'))::int as ours,
        coalesce(extract(epoch from clock_timestamp() - min(xact_start) filter (where backend_type = 'client backend')), 0)::float8 as oldest
    from pg_stat_activity
    where datname = current_database()
) as activity
cross join (
    select case when not pg_is_in_recovery() then max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) end::bigint as kept
    from pg_replication_slots
) as slots
