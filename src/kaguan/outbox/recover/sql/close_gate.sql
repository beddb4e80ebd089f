-- 历史断了而服务器没有重启过（整台退回快照）：关门，核对完再开
update tb_broker set incarnation = '-infinity' where id = 1
