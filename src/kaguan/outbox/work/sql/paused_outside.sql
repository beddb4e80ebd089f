-- 停在哪一家外面的：还停几秒；几处都停着它的，是最晚结束的那一处
select distinct on (name) name, id, reason, extract(epoch from until - clock_timestamp())::float8 as seconds
from tb_pause
where scope = 'carrier' and until > clock_timestamp()
order by name, until desc
