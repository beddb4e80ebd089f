-- 别的会话：``known`` 之外的，或事务开着的（测试用）
select pid, state = 'active' and wait_event_type is distinct from 'Lock' as is_busy
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend'
  and pid <> pg_backend_pid() and pid <> all(%(ours)s)
  and (pid <> all(%(known)s) or xact_start is not null)
