-- 查证说对方已收下：还停在「已记意向」的收件人就此定论
update tb_email_delivery
set status = 'accepted', smtp_reply = %(reply)s, settled_at = clock_timestamp()
where task_id = %(task_id)s and status = 'intended'
