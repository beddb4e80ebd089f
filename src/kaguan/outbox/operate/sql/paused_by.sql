-- 没有开始、也没有结局的任务，此刻停在哪里；几处都停着它的，是最晚结束的那一处
select p.id, p.scope, p.name, p.reason, p.actor, p.created_at, p.until, 0 as waiting
from (
    select t.type, t.queue, t.principal, t.ordering_key, o.waiting_for
    from tb_task t
    left join tb_outbox o on o.task_id = t.id
    where t.id = %(task_id)s and t.status in ('pending', 'retrying')
      and (select w.lease_until from tb_work w where w.task_id = t.id and w.delivery = t.delivery) is null
) as t
join tb_pause p on {{holding}} or t.waiting_for = 'pause:' || p.id and p.until > clock_timestamp()
order by p.until desc
limit 1
