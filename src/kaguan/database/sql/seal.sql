-- 盖印的钥匙
select key from tb_seal where id = 1
