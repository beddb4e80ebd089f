-- 此刻另定了的限额：一种任务同时几个，或去一家外面的几个、几次；还管几秒
select scope, name, at_once, per_second, extract(epoch from until - clock_timestamp())::float8 as seconds
from tb_limit
where until > clock_timestamp()
