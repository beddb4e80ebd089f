-- 收完工了
delete from tb_drain where worker = %(worker)s
