-- 排在同键之后、还没有发件箱行的；order by 让计划走索引，数到封顶就停
select count(*)
from (
    select from tb_task t
    where t.in_line is not null
      and not exists (select from tb_outbox o where o.task_id = t.id)
      and (select 1 from tb_work w where w.task_id = t.id) is null
    order by t.principal, t.ordering_key, t.in_line
    limit %(cap)s
) as w
