-- 发信之后：记下几封信的结局。没有意向行（没连上）也记；已被收下的行不动。总按同一次序写，并发的批次不会死锁
insert into tb_email_delivery as delivery
    (task_id, recipient, status, message_id, smtp_code, smtp_reply, attempt, intended_at, settled_at)
select task_id, recipient, status, message_id, code, reply, attempt, intended_at, clock_timestamp()
from unnest(
    %(task_ids)s::uuid[], %(message_ids)s::text[], %(attempts)s::smallint[], %(dates)s::timestamptz[],
    %(recipients)s::text[], %(statuses)s::text[], %(codes)s::smallint[], %(replies)s::text[]
) as outcome (task_id, message_id, attempt, intended_at, recipient, status, code, reply)
order by task_id, recipient
on conflict (task_id, recipient) do update
set status = excluded.status, smtp_code = excluded.smtp_code, smtp_reply = excluded.smtp_reply,
    attempt = excluded.attempt, settled_at = excluded.settled_at
where delivery.status <> 'accepted'
