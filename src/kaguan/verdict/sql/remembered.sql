-- 还没有结束的；至多几十行
select code, subject, since, parameters, warn_at, bad_at from tb_concern where ended_at is null
