-- 各表的死行与上一回清理，死行多的在前；大小按上一回清理时的页数，不去量文件，也就不等谁的锁
select
    s.relname as name,
    s.n_live_tup as live,
    s.n_dead_tup as dead,
    s.n_tup_upd as updated,
    s.n_tup_hot_upd as hot,
    greatest(s.last_vacuum, s.last_autovacuum) as vacuumed_at,
    greatest(s.last_analyze, s.last_autoanalyze) as analyzed_at,
    (c.relpages + coalesce((
        select sum(i.relpages) from pg_index x join pg_class i on i.oid = x.indexrelid where x.indrelid = c.oid
    ), 0))::bigint * current_setting('block_size')::int as bytes
from pg_stat_user_tables s
join pg_class c on c.oid = s.relid
where s.schemaname = current_schema()
order by s.n_dead_tup desc, bytes desc, s.relname
limit %(limit)s
