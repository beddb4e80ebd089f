-- 刚说过的；至多几十行
select name, entry from tb_concern
