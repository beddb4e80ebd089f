-- 记下看见的，抹掉太旧的
with forgotten as (
    delete from tb_concern where name = any(%(gone)s::text[])
)
insert into tb_concern as c (name, entry)
select name, entry from unnest(%(names)s::text[], %(entries)s::jsonb[]) as told (name, entry)
order by name
on conflict (name) do update set entry = excluded.entry
