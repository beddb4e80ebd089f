-- 几封信已有的逐收件人记录；Date 头取第一次尝试的时刻，Message-ID 取第一次用的（各行相同），此后不变。
-- lost_for：上一次是会话里断的、或中继主机说不行（421、530），距今几秒。
-- any(array[…])：只能一封一封按号去找；写等号，没有统计信息时会看遍整张表
select
    d.task_id, d.recipient, d.status, d.intended_at, d.message_id,
    case
        when d.status = 'deferred' and (d.smtp_code is null or d.smtp_code in (421, 530))
            then extract(epoch from clock_timestamp() - d.settled_at)::float8
    end as lost_for
from (select distinct unnest(%(task_ids)s::uuid[])) as letter (id)
join tb_email_delivery d on d.task_id = any(array[letter.id])
