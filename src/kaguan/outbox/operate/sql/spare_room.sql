-- tb_task 占着几块；活着的、死而未清的各要几块（按分析得的行宽，照 fillfactor 摆）。没有分析过就不知道：null
select
    pg_relation_size(s.relid) / current_setting('block_size')::int,
    ceil(s.n_live_tup * w.bytes / 0.6 / current_setting('block_size')::int)::bigint,
    ceil(s.n_dead_tup * w.bytes / 0.6 / current_setting('block_size')::int)::bigint
from pg_stat_user_tables s,
lateral (
    select 28 + sum(c.avg_width * (1 - c.null_frac)) as bytes -- 28：行头与行指针
    from pg_stats c
    where (c.schemaname, c.tablename) = (s.schemaname, s.relname)
) as w
where s.relid = 'tb_task'::regclass
