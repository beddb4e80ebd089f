-- 还没有结束的，与告诉过人、还没有说没了的；至多几十行
select code, subject, since, parameters, warn_at, bad_at, told, ended_at
from tb_concern
where ended_at is null or (told is not null and cleared_at is null)
