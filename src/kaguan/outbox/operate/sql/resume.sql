-- 恢复：过了期的已经恢复了
delete from tb_pause where id = %(id)s and until > clock_timestamp()
returning id, scope, name, reason, actor, created_at, until, 0 as waiting
