-- 通知说的是谁：同一个键上排在它前面的那个，次序号可有空隙；没有（没受理成、过了保留期）就没有行
select
    t.id as task_id, t.type, t.status, t.principal, t.request_id, t.attempt as attempts,
    t.last_error ->> 'code' as error_code, coalesce(t.finished_at, t.started_at, t.created_at) as at
from tb_task n
cross join lateral (
    select id
    from tb_task
    where principal = n.principal and ordering_key = n.ordering_key and ordering_seq < n.ordering_seq
    order by ordering_seq desc
    limit 1
) as before
join vw_task t on t.id = before.id
where n.id = %(notice)s
