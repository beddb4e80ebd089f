-- 发信之前：为几封信还要投递的收件人记下意向。已被收下的行不动，也不返回，因而不会再寄
-- 总按同一次序写，并发的批次不会死锁
insert into tb_email_delivery as delivery (task_id, recipient, status, message_id, attempt, intended_at)
select task_id, recipient, 'intended', message_id, attempt, intended_at
from unnest(
    %(task_ids)s::uuid[], %(message_ids)s::text[], %(attempts)s::smallint[], %(dates)s::timestamptz[],
    %(recipients)s::text[]
) as intent (task_id, message_id, attempt, intended_at, recipient)
order by task_id, recipient
on conflict (task_id, recipient) do update
set status = 'intended', attempt = excluded.attempt, smtp_code = null, smtp_reply = null, settled_at = null
where delivery.status <> 'accepted'
returning task_id, recipient
