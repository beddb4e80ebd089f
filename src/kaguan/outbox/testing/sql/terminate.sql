-- 像进程死去那样断开：没提交的回滚，等它真的断了（测试用）
select pg_terminate_backend(pid, %(milliseconds)s) from unnest(%(pids)s::int[]) as pid
