-- 这些会话都真的断了没有（测试用）
select not exists (select from pg_stat_activity where pid = any(%(pids)s::int[]))
