select epoch from tb_broker where id = 1
