-- 此刻连着的是谁：哪一次启动，哪一段历史（系统标识与时间线）
select
    pg_postmaster_start_time() as incarnation,
    (select system_identifier from pg_control_system())::text || ':' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
        as history,
    clock_timestamp() as now
