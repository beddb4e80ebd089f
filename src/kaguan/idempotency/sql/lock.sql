-- 同一幂等键的首个请求还在进行：锁随事务结束而释放
select pg_try_advisory_xact_lock(hashtextextended(%(principal)s || E'\x1f' || %(key)s, 0)) as held
