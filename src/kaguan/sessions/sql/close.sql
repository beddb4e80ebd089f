delete from tb_session where id = %(id)s
