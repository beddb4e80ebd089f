-- 这封信已有的逐收件人记录；Date 头取第一次尝试的时刻，Message-ID 取第一次用的（各行相同），此后不变。
-- lost_for：上一次是会话里断的、或中继主机说不行（421、530），距今几秒
select
    recipient, status, intended_at, message_id,
    case
        when status = 'deferred' and (smtp_code is null or smtp_code in (421, 530))
            then extract(epoch from clock_timestamp() - settled_at)::float8
    end as lost_for
from tb_email_delivery
where task_id = %(task_id)s
