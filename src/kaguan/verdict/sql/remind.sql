-- 提前再说：到时的已经在说了
delete from tb_acknowledgement where id = %(id)s and until > clock_timestamp()
returning id, code, subject, level, most, reason, actor, created_at, until
