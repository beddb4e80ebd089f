-- 发信之前：为还要投递的收件人记下意向。已被收下的行不动，也不返回，因而不会再寄
insert into tb_email_delivery as delivery (task_id, recipient, status, message_id, attempt, intended_at)
select %(task_id)s::uuid, recipient, 'intended', %(message_id)s::text, %(attempt)s::smallint, %(intended_at)s::timestamptz
from unnest(%(recipients)s::text[]) as recipient
on conflict (task_id, recipient) do update
set status = 'intended', attempt = excluded.attempt, smtp_code = null, smtp_reply = null, settled_at = null
where delivery.status <> 'accepted'
returning recipient
