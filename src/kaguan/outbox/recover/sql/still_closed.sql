-- 核对的每一页先锁住这一行：几个 relay 一页页轮着来，别的已核对完、又换了服务器的就此罢手
select 1
from tb_broker
where id = 1 and pg_postmaster_start_time() = %(incarnation)s and incarnation is distinct from %(incarnation)s
for no key update
