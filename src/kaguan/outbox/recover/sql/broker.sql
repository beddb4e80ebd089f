-- 队列服务器的纪元，与 PostgreSQL 自己的：认过的历史、这一次启动认过没有、水位（只升不降）、盖印的钥匙
select
    epoch, lineage, history, incarnation is null as fresh,
    incarnation is not distinct from pg_postmaster_start_time() as is_open,
    greatest(since, forwarded_at) as watermark,
    clock_timestamp() as now, (select key from tb_seal where id = 1) as key
from tb_broker
where id = 1
