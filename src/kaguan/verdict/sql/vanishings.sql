-- 最近发现不见了的任务：几个（数到封顶为止），最早的何时发现
select count(*)::int as count, min(first_seen) as since
from (
    select first_seen
    from tb_vanished
    where first_seen > now() - make_interval(secs => %(window)s)
    order by first_seen
    limit %(cap)s
) as recent
