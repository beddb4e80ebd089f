-- 通知说的是谁：同一个键上排在它前面的那个；没有（没受理成、过了保留期）就没有行
select
    t.id as task_id, t.type, t.status, t.principal, t.request_id, t.attempt as attempts,
    t.last_error ->> 'code' as error_code, coalesce(t.finished_at, t.started_at, t.created_at) as at
from tb_task n
join vw_task t
    on t.ordering_key = n.ordering_key and t.principal = n.principal and t.ordering_seq = n.ordering_seq - 1
where n.id = %(notice)s
