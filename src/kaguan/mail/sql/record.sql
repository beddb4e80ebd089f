-- 发信之后：记下结局。没有意向行（没连上）也记；已被收下的行不动
insert into tb_email_delivery as delivery
    (task_id, recipient, status, message_id, smtp_code, smtp_reply, attempt, intended_at, settled_at)
select
    %(task_id)s::uuid, recipient, status, %(message_id)s::text, code, reply,
    %(attempt)s::smallint, %(intended_at)s::timestamptz, clock_timestamp()
from unnest(%(recipients)s::text[], %(statuses)s::text[], %(codes)s::smallint[], %(replies)s::text[])
    as outcome (recipient, status, code, reply)
on conflict (task_id, recipient) do update
set status = excluded.status, smtp_code = excluded.smtp_code, smtp_reply = excluded.smtp_reply,
    attempt = excluded.attempt, settled_at = excluded.settled_at
where delivery.status <> 'accepted'
