select epoch, since from tb_broker where id = 1
