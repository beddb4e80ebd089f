-- 库里的每张表，能写的列，外键指向哪些表（测试用）
select
    c.oid,
    n.nspname as schema,
    c.relname as name,
    array(
        select a.attname
        from pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
        order by a.attnum
    ) as columns,
    array(select f.confrelid from pg_constraint f where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid)
        as parents
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence <> 't'
  and n.nspname <> 'information_schema' and n.nspname not like 'pg\_%%'
order by n.nspname, c.relname
