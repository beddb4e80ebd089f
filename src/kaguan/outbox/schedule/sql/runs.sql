-- 一个计划最近的几次；别人也能用这个键，只往回看这么多个
select id, request_id, status, created_at, finished_at
from (
    select id, request_id, status, created_at, finished_at, principal
    from vw_task
    where ordering_key = %(key)s
    order by id desc
    limit %(cap)s
) as recent
where principal = %(principal)s
order by id desc
limit %(limit)s
