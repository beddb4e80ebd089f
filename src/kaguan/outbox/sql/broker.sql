-- 队列服务器的纪元，与 PostgreSQL 自己的：认过的历史、这一次启动认过没有、水位（只升不降）
select
    epoch, lineage, history, incarnation is null as fresh,
    incarnation is not distinct from pg_postmaster_start_time() as settled,
    greatest(since, forwarded_at) as watermark
from tb_broker
where id = 1
