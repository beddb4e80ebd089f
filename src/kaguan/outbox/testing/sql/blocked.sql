-- 有没有会话在等别的会话的锁（测试用）
select exists (select from unnest(%(pids)s::int[]) as pid where cardinality(pg_blocking_pids(pid)) > 0)
